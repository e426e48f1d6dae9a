import assert from "node:assert/strict";
import test from "node:test";

import {
  beginBooks,
  Download,
  figures,
  takeBlock,
  takePlayed,
  takeReport,
  toSixteenBits,
} from "./jam_books.js";
import { RATE } from "./sound.js";

function begun() {
  const jam = {};
  beginBooks(jam, "one", 1000);
  return jam;
}

const block = (number, heard) => ({
  start: number * RATE,
  samples: RATE,
  made: 0.25,
  heard: heard * RATE,
  recorded: number + 1,
  ended: "",
});

test("sound that arrives is counted and waits for the worklet", () => {
  const jam = begun();
  for (const seq of [1, 0]) jam.arrive(seq, { samples: 2048, planes: new Float32Array(4096) });
  assert.deepEqual([jam.received, jam.backlog.length, jam.made.count], [4096, 2, 4]);
});

test("an answer is as late as the block is behind the middle of what it has newly heard", () => {
  const jam = begun();
  takeBlock(jam, block(0, 0), 0);
  takeBlock(jam, block(1, 0), 0);
  takeBlock(jam, block(2, 1), 0);
  takeBlock(jam, block(3, 2), 0);
  assert.deepEqual(jam.answers, [1.5, 1.5]);
  assert.deepEqual(figures(jam, 0), { answer: 1500, lead: 0, factor: 0.25, first: null });
  assert.equal(jam.recorded, 4);
});

test("running out is counted, and blamed on the block if that was slow", () => {
  const jam = begun();
  const report = { read: 100, underruns: 0, peak: 0.5, moving: true };
  assert.equal(takeReport(jam, report, 1500), true);
  assert.deepEqual([jam.firstSound, jam.state], [500, "playing"]);
  assert.equal(takeReport(jam, report, 1600), false);
  takeBlock(jam, { ...block(0, 0), made: 2 }, 0);
  assert.equal(takeReport(jam, { ...report, underruns: 1, moving: false }, 1700), true);
  assert.deepEqual([jam.cause, jam.left, jam.state], ["a block took longer than it lasts", 0, "waiting"]);
});

test("a new start forgets the one before", () => {
  const jam = begun();
  takeBlock(jam, block(0, 0), 0);
  jam.arrive(0, { samples: 1, planes: new Float32Array(2) });
  beginBooks(jam, "two", 2000);
  assert.deepEqual([jam.run, jam.blocks.length, jam.received, jam.answered], ["two", 0, 0, false]);
  jam.arrive(0, { samples: 1, planes: new Float32Array(2) });
  assert.equal(jam.received, 1);
});

test("what the player did may overlap or leave a hole in the picture", () => {
  const jam = begun();
  const piece = () => [new Float32Array(1000), new Float32Array(1000)];
  takePlayed(jam, piece(), 500);
  takePlayed(jam, piece(), 1200);
  takePlayed(jam, piece(), 0);
  assert.equal(jam.pictured, 2200);
});

test("sixteen bits are clipped, one plane after the other", () => {
  assert.deepEqual(
    [
      ...toSixteenBits([
        [0, 2],
        [-2, 0.5],
      ]),
    ],
    [0, 32767, -32768, 16384],
  );
});

test("a file is whole when all its parts are there, in any order", () => {
  const file = new Download();
  assert.equal(file.take(2, new Uint8Array([3]), 3), null);
  assert.equal(file.take(2, new Uint8Array([3]), 3), null);
  assert.deepEqual(file.take(0, new Uint8Array([1, 2]), 3), [new Uint8Array([1, 2]), new Uint8Array([3])]);
});
