// What is known of one Start of a JamSession: blocks, what was heard of them, answers. Plain data and
// functions that change it; nothing here touches the page or its sound, so it can be tested without one.

import { inOrder, RATE } from "./sound.js";
import { Spectrogram } from "./spectrogram.js";

const BLOCKS_KEPT = 400;
const ANSWERS_KEPT = 16; // of which the median is shown

export function emptyBooks() {
  const books = {
    run: null,
    started: 0,
    firstSound: null,
    answered: false, // `answered`: by the kernel
    blocks: [],
    backlog: [],
    answers: [],
    recorded: 0,
    ended: "", // `ended`: why nothing more is recorded
    read: 0,
    write: 0,
    received: 0,
    underruns: 0,
    cause: "",
    peak: 0,
    moving: false,
    at: 0,
    left: null,
    made: new Spectrogram(),
    played: new Spectrogram(),
    pictured: 0,
  };
  books.arrive = inOrder((piece) => takeSound(books, piece));
  return books;
}

// Begins a new Start in a jam that stays the same object.
export function beginBooks(jam, run, now) {
  const books = emptyBooks();
  Object.assign(jam, books, { run, started: now, arrive: inOrder((piece) => takeSound(jam, piece)) });
}

// A piece of the model's sound, in order.
export function takeSound(jam, piece) {
  jam.received += piece.samples;
  jam.made.push(piece.planes.subarray(0, piece.samples), piece.planes.subarray(piece.samples));
  jam.backlog.push(piece);
}

// A block as Python announces it; heard: seconds until now. How far behind the player is the answer: from
// the middle of what is new in a block to where that block begins.
export function takeBlock(jam, block, heard) {
  const before = jam.blocks.at(-1);
  const left = jam.received / RATE - heard; // seconds still to hear when it came
  if (jam.moving) jam.left = Math.min(left, jam.left ?? Infinity);
  if (before && block.heard > before.heard) {
    const answer = (block.start - (before.heard + block.heard) / 2) / RATE;
    jam.answers = [...jam.answers.slice(1 - ANSWERS_KEPT), answer];
  }
  jam.blocks.push(block);
  if (jam.blocks.length > BLOCKS_KEPT) jam.blocks.shift();
  Object.assign(jam, { recorded: block.recorded, ended: block.ended });
}

// What the worklet reports, at ms `now`. Returns whether the sound has begun or run out.
export function takeReport(jam, { read, underruns, peak, moving }, now) {
  if (jam.firstSound === null && read > 0) jam.firstSound = now - jam.started;
  if (underruns > jam.underruns) {
    const last = jam.blocks.at(-1);
    const slow = last && last.made > last.samples / RATE;
    jam.left = 0;
    jam.cause = slow ? "a block took longer than it lasts" : "the sound came late to this page";
  }
  const turned = moving !== jam.moving;
  Object.assign(jam, { read, underruns, peak, moving, at: now, state: moving ? "playing" : "waiting" });
  return turned;
}

// What the player did, [left, right], from sample `place` of the output on, for the picture. Pieces may
// overlap, or leave a hole.
export function takePlayed(jam, [left, right], place) {
  const hole = place - jam.pictured;
  if (hole > 0) jam.played.push(new Float32Array(hole), new Float32Array(hole));
  const skip = Math.max(0, -hole);
  jam.played.push(left.subarray(skip), right.subarray(skip));
  jam.pictured = Math.max(jam.pictured, place + left.length);
}

// Planes of samples as 16 bits, one plane after the other; louder than 1 is clipped.
export function toSixteenBits(planes) {
  const numbers = new Int16Array(planes.length * planes[0].length);
  planes.forEach((plane, c) =>
    plane.forEach((value, i) => {
      numbers[c * plane.length + i] = Math.max(-32768, Math.min(32767, Math.round(32768 * value)));
    }),
  );
  return numbers;
}

// The figures under the picture, as numbers; null where there is none. now: seconds heard.
export function figures(jam, now) {
  const block = jam.blocks.at(-1),
    on = jam.run !== null;
  const answers = [...jam.answers].sort((a, b) => a - b);
  return {
    answer: answers.length ? Math.round(1000 * answers[answers.length >> 1]) : null,
    lead: on ? Math.max(0, Math.round(1000 * (jam.received / RATE - now))) : 0,
    factor: block ? block.made / (block.samples / RATE) : null,
    first: jam.firstSound === null ? null : Math.round(jam.firstSound),
  };
}

// A file that comes in parts, in any order, some of them twice: gives its bytes when all are there, else
// null.
export class Download {
  constructor() {
    this.parts = new Map(); // where it begins -> bytes
    this.got = 0;
  }
  take(at, bytes, size) {
    if (!this.parts.has(at)) this.got += bytes.byteLength;
    this.parts.set(at, bytes);
    return this.got < size ? null : [...this.parts].sort(([a], [b]) => a - b).map(([, part]) => part);
  }
}
