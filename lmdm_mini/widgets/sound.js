// Shared by the widgets: the worklet that turns pieces into sound, and pieces out of what the player does, and the line to Python.

const RATE = 44100;
const RING_SECONDS = 30; // Python sends at most 20 s ahead
const FADE = 256; // samples, 6 ms: shorter clicks, longer smears an underrun

// ---------------------------------------------------------------- sound: runs in the audio thread
const WORKLET = `
class StreamRing extends AudioWorkletProcessor {
  constructor({ processorOptions: o }) {
    super();
    this.ring = Array.from({ length: o.channels }, () => new Float32Array(o.capacity));
    this.capacity = o.capacity;
    this.need = o.need;       // samples in hand before the first is heard
    this.again = o.again;     // and after an underrun
    this.fade = o.fade;
    this.write = this.read = this.underruns = this.peak = this.gain = this.target = this.side = 0;
    this.sideTarget = 0;      // 0: the stream is heard, 1: the reference
    this.step = 1 / o.fade;
    this.moving = this.ended = this.closing = this.over = false;
    this.unreported = 0;
    this.capture = o.capture || 0; // samples of a piece of what comes in; 0: nothing is captured
    this.piece = null;
    this.port.onmessage = ({ data }) => this[data.kind](data);
  }
  sound({ samples, planes }) {  // planes: Float32Array, one channel after the other
    for (let c = 0; c < this.ring.length; c++) {
      const plane = planes.subarray(c * samples, (c + 1) * samples);
      const at = this.write % this.capacity, fits = Math.min(samples, this.capacity - at);
      this.ring[c].set(plane.subarray(0, fits), at);
      this.ring[c].set(plane.subarray(fits), 0);
    }
    this.write += samples;
  }
  end() { this.ended = true; }
  close({ seconds }) { this.closing = true; this.target = 0; this.step = 1 / Math.max(1, seconds * sampleRate); }
  listen({ reference }) { this.sideTarget = reference ? 1 : 0; }
  // What comes in while sample p is heard belongs to p. A piece ends where it does not go on from the last sample.
  take(input, at, n) {
    if (this.piece && (this.piece.start + this.piece.filled !== at || this.piece.filled + n > this.capture)) this.give();
    this.piece ||= { start: at, filled: 0, planes: [new Float32Array(this.capture), new Float32Array(this.capture)] };
    for (const c of [0, 1]) this.piece.planes[c].set(input[Math.min(c, input.length - 1)], this.piece.filled);
    this.piece.filled += n;
  }
  give() {
    const { start, filled, planes } = this.piece;
    this.piece = null;
    this.port.postMessage({ captured: planes.map((plane) => plane.subarray(0, filled)), start });
  }
  process([input], [out]) {
    const left = out[0], right = out[1] || out[0], n = left.length;
    const available = this.write - this.read, began = this.read;
    if (!this.moving && !this.closing && (available >= this.need || (this.ended && available > 0))) {
      this.moving = true; this.target = 1; this.step = 1 / this.fade; this.unreported = 1e9;
    }
    // too little is left to go on: use it to fade out, then wait
    if (this.moving && !this.closing && available < n + this.fade) this.target = 0;
    if (this.moving) {
      const [a, b, c, d] = this.ring;
      for (let i = 0; i < n; i++) {
        if (this.read >= this.write) { this.gain = 0; this.target = 0; }
        if (this.gain === 0 && this.target === 0) break;
        this.gain = this.gain < this.target ? Math.min(this.target, this.gain + this.step)
                                            : Math.max(this.target, this.gain - this.step);
        const at = this.read++ % this.capacity;
        let l = a[at], r = b[at];
        if (c) {
          this.side += Math.max(-this.step, Math.min(this.step, this.sideTarget - this.side));
          l += this.side * (c[at] - l); r += this.side * (d[at] - r);
        }
        l *= this.gain; r *= this.gain;
        left[i] = l; right[i] = r;
        this.peak = Math.max(this.peak, Math.abs(l), Math.abs(r));
      }
      if (this.gain === 0 && this.target === 0) {
        this.moving = false;
        if (!this.closing && !this.ended) { this.underruns++; this.need = this.again; }
        this.unreported = 1e9;
      }
    }
    if (!this.moving && (this.closing || (this.ended && this.write - this.read < n + this.fade))) this.over = true;
    if (this.capture && input?.length && this.read === began + n) this.take(input, began, n);
    this.unreported += n;
    if (this.unreported >= 2048 || this.over) {
      this.unreported = 0;
      const { read, write, underruns, peak, moving, over } = this;
      this.port.postMessage({ read, write, underruns, peak, moving, over });
    }
    return !this.over;
  }
}
registerProcessor("stream-ring", StreamRing);

class Tap extends AudioWorkletProcessor { // hears the first channel for a while, to measure delays
  constructor({ processorOptions: o }) {
    super();
    this.sound = new Float32Array(o.samples);
    this.filled = 0;
    this.start = null;
  }
  process([input]) {
    this.start ??= currentFrame;
    const n = Math.min(128, this.sound.length - this.filled);
    if (input.length) this.sound.set(input[0].subarray(0, n), this.filled);
    this.filled += n;
    if (this.filled < this.sound.length) return true;
    this.port.postMessage({ start: this.start, sound: this.sound });
    return false;
  }
}
registerProcessor("tap", Tap);
`;

// ---------------------------------------------------------------- the line to Python
// A comm of our own. JupyterLab gives it a subshell, a thread of the kernel that listens while a cell is running; what is sent
// before that thread is there would wait for the end of the cell. Python never sends on it: then it would lose its subshell.
async function openLine(kernel, target, widget) {
  const comm = kernel.createComm(target);
  if (kernel.supportsSubshells && comm.subshellStarted) {
    await Promise.race([comm.subshellStarted, new Promise((late) => setTimeout(late, 1500))]);
  }
  comm.open({ widget });
  return comm;
}

// Pieces in the order of their numbers, whatever order they come in; one that is still missing when ten later ones are here was lost.
function inOrder(give) {
  const held = new Map();
  let next = 0;
  return (seq, piece) => {
    if (seq < next) return;
    held.set(seq, piece);
    while (held.size && (held.has(next) || held.size > 10)) {
      const found = held.get(next++);
      if (found) { held.delete(next - 1); give(found); }
    }
  };
}

// What is in `books.backlog` goes to the worklet, as far as its ring has room.
function feed(node, books) {
  while (node && books.backlog.length) {
    const { samples, planes } = books.backlog[0];
    if (books.write - books.read + samples > RING_SECONDS * RATE) return;
    books.backlog.shift();
    books.write += samples;
    node.port.postMessage({ kind: "sound", samples, planes }, [planes.buffer]);
  }
}

// Seconds heard by now: the worklet's last report, and what has passed since then.
function secondsHeard(books, running = true) {
  const since = books.moving && running ? (performance.now() - books.at) / 1000 : 0;
  return Math.min(books.read / RATE + Math.min(since, 0.2), books.write / RATE);
}

// A message's buffer as numbers; it may begin anywhere in a larger one.
function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

