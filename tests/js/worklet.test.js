import assert from "node:assert/strict";
import test from "node:test";

import { chirpWave, findLag } from "./jam_delay.js";
import { mixOf } from "./surface.js";
import { worklet, WORKLET } from "./worklet.js";

const processors = {};
globalThis.sampleRate = 44100;
globalThis.currentFrame = 0;
globalThis.registerProcessor = (name, kind) => {
  processors[name] = kind;
};
globalThis.AudioWorkletProcessor = class {
  constructor() {
    this.reports = [];
    this.port = { postMessage: (message) => this.reports.push(message) };
  }
};
worklet();

function ring(options = {}) {
  const all = { channels: 2, capacity: 44100, fade: 4, need: 256, again: 256, capture: 0, ...options };
  return new processors["stream-ring"]({ processorOptions: all });
}

function give(node, samples, value = 0.5) {
  node.sound({ samples, planes: new Float32Array(2 * samples).fill(value) });
}

function hear(node, input) {
  const out = [new Float32Array(128), new Float32Array(128)];
  return [node.process([input ?? []], [out]), out];
}

test("it waits until enough is there, then plays it, and counts when it runs out", () => {
  const node = ring();
  give(node, 128);
  assert.equal(hear(node)[1][0].some(Boolean), false);
  give(node, 256);
  const [, [left]] = hear(node);
  assert.deepEqual([left[0] < 0.5, left[10], node.read], [true, 0.5, 128]);
  for (let i = 0; i < 4; i++) hear(node);
  assert.deepEqual([node.moving, node.underruns], [false, 1]);
});

test("closing fades out and ends it", () => {
  const node = ring();
  give(node, 1000);
  hear(node);
  node.close({ seconds: 64 / 44100 });
  const [goesOn, [left]] = hear(node);
  assert.deepEqual([goesOn, left[127]], [false, 0]);
});

test("what comes in is captured with the sample that was heard meanwhile", () => {
  const node = ring({ capture: 256 });
  give(node, 1000);
  for (let i = 0; i < 3; i++) hear(node, [new Float32Array(128).fill(i + 1)]);
  const [{ captured, start }] = node.reports.filter((report) => report.captured);
  assert.deepEqual([start, captured[0].length, captured[1][0], captured[0][255]], [0, 256, 1, 2]);
});

test("the text that the audio thread gets is the same program", () => {
  for (const name of Object.keys(processors)) delete processors[name];
  (0, eval)(WORKLET);
  assert.deepEqual(Object.keys(processors), ["stream-ring", "tap"]);
});

test("a chirp is found where it is, and not where it is not", () => {
  const wave = chirpWave(),
    sound = new Float32Array(20000);
  for (let i = 0; i < sound.length; i++) sound[i] = 0.01 * Math.sin(i * i);
  assert.equal(findLag(wave, sound, 1000), null);
  wave.forEach((value, i) => {
    sound[5000 + i] += 0.3 * value;
  });
  assert.equal(findLag(wave, sound, 1000), 4000);
});

test("the nearest prompt weighs most, and one that is far away nothing", () => {
  const pads = [
    { text: "a", x: 0.1, y: 0.5 },
    { text: "b", x: 0.9, y: 0.5 },
  ];
  assert.deepEqual(mixOf(pads, [0.5, 0.5], 2), [
    ["a", 0.5],
    ["b", 0.5],
  ]);
  assert.deepEqual(mixOf(pads, [0.1, 0.5], 2), [
    ["a", 1],
    ["b", 0],
  ]);
});
