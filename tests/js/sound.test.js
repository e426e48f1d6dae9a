import assert from "node:assert/strict";
import test from "node:test";

import { feed, floats, inOrder, RATE, secondsHeard, whySilent } from "./sound.js";

test("pieces come out in the order of their numbers, each once", () => {
  const given = [];
  const arrive = inOrder((piece) => given.push(piece));
  for (const seq of [1, 0, 0, 3, 2]) arrive(seq, `piece ${seq}`);
  assert.deepEqual(given, ["piece 0", "piece 1", "piece 2", "piece 3"]);
});

test("a piece that was lost is not waited for longer than ten others", () => {
  const given = [];
  const arrive = inOrder((piece) => given.push(piece));
  for (let seq = 1; seq <= 11; seq++) arrive(seq, seq);
  assert.deepEqual(given, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test("the worklet is given what its ring has room for", () => {
  const sent = [];
  const node = { port: { postMessage: (message) => sent.push(message.samples) } };
  const piece = (seconds) => ({ samples: seconds * RATE, planes: new Float32Array(2) });
  const books = { backlog: [piece(20), piece(9), piece(9)], read: 0, write: 0 };
  feed(node, books);
  assert.deepEqual(sent, [20 * RATE, 9 * RATE]);
  books.read = 9 * RATE;
  feed(node, books);
  assert.deepEqual([books.write, books.backlog.length], [38 * RATE, 0]);
});

test("between two reports the clock goes on, but not beyond what was written", () => {
  const books = { moving: true, at: performance.now() - 100, read: RATE, write: 10 * RATE };
  assert.ok(secondsHeard(books) >= 1.1 && secondsHeard(books) <= 1.2);
  assert.equal(secondsHeard(books, false), 1);
  assert.equal(secondsHeard({ ...books, write: RATE }), 1);
});

test("a buffer may begin anywhere in a larger one", () => {
  const bytes = new Uint8Array(9);
  bytes.set(new Uint8Array(new Float32Array([0.5, -2]).buffer), 1);
  assert.deepEqual([...floats(new DataView(bytes.buffer, 1, 8))], [0.5, -2]);
});

test("a browser that stays silent is said to wait for a click", () => {
  assert.equal(whySilent("running", 5000, false), "");
  assert.equal(whySilent(undefined, 5000, false), "");
  assert.equal(whySilent("suspended", 500, false), "", "it may still be about to play");
  assert.match(whySilent("suspended", 1500, false), /does not play sound yet: click here/);
  assert.match(whySilent("suspended", 1500, true), /sleep: click here/);
});
