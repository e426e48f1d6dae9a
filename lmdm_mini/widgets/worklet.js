// What runs in the audio thread: `StreamRing` turns pieces into sound, and what the player does into
// pieces; `Tap` listens for a while.
//
// An AudioWorklet has no access to modules of the page, so it is given the text of this function.

export function worklet() {
  class StreamRing extends AudioWorkletProcessor {
    constructor({ processorOptions: o }) {
      super();
      this.ring = Array.from({ length: o.channels }, () => new Float32Array(o.capacity));
      this.capacity = o.capacity;
      this.need = o.need; // samples in hand before the first is heard
      this.again = o.again; // and after an underrun
      this.fade = o.fade;
      this.write = this.read = this.underruns = this.peak = this.gain = this.target = this.side = 0;
      this.sideTarget = 0; // 0: the stream is heard, 1: the reference
      this.step = 1 / o.fade;
      this.moving = this.ended = this.closing = this.over = false;
      this.unreported = 0;
      this.capture = o.capture || 0; // samples of a piece of what comes in; 0: nothing is captured
      this.piece = null;
      this.port.onmessage = ({ data }) => this[data.kind](data);
    }
    sound({ samples, planes }) {
      // planes: Float32Array, one channel after the other
      for (let c = 0; c < this.ring.length; c++) {
        const plane = planes.subarray(c * samples, (c + 1) * samples);
        const at = this.write % this.capacity,
          fits = Math.min(samples, this.capacity - at);
        this.ring[c].set(plane.subarray(0, fits), at);
        this.ring[c].set(plane.subarray(fits), 0);
      }
      this.write += samples;
    }
    end() {
      this.ended = true;
    }
    close({ seconds }) {
      this.closing = true;
      this.target = 0;
      this.step = 1 / Math.max(1, seconds * sampleRate);
    }
    listen({ reference }) {
      this.sideTarget = reference ? 1 : 0;
    }
    // What comes in while sample p is heard belongs to p. A piece ends where it does not go on from the
    // last sample.
    take(input, at, n) {
      if (this.piece && (this.piece.start + this.piece.filled !== at || this.piece.filled + n > this.capture))
        this.give();
      this.piece ||= {
        start: at,
        filled: 0,
        planes: [new Float32Array(this.capture), new Float32Array(this.capture)],
      };
      for (const c of [0, 1])
        this.piece.planes[c].set(input[Math.min(c, input.length - 1)], this.piece.filled);
      this.piece.filled += n;
    }
    give() {
      const { start, filled, planes } = this.piece;
      this.piece = null;
      this.port.postMessage({ captured: planes.map((plane) => plane.subarray(0, filled)), start });
    }
    // The next samples go out, as far as there are any, with the gain on its way to its target.
    play(left, right) {
      const [a, b, c, d] = this.ring;
      for (let i = 0; i < left.length; i++) {
        if (this.read >= this.write) {
          this.gain = 0;
          this.target = 0;
        }
        if (this.gain === 0 && this.target === 0) break;
        this.gain =
          this.gain < this.target
            ? Math.min(this.target, this.gain + this.step)
            : Math.max(this.target, this.gain - this.step);
        const at = this.read++ % this.capacity;
        let l = a[at],
          r = b[at];
        if (c) {
          this.side += Math.max(-this.step, Math.min(this.step, this.sideTarget - this.side));
          l += this.side * (c[at] - l);
          r += this.side * (d[at] - r);
        }
        l *= this.gain;
        r *= this.gain;
        left[i] = l;
        right[i] = r;
        this.peak = Math.max(this.peak, Math.abs(l), Math.abs(r));
      }
    }
    process([input], [out]) {
      const left = out[0],
        right = out[1] || out[0],
        n = left.length;
      const available = this.write - this.read,
        began = this.read;
      if (!this.moving && !this.closing && (available >= this.need || (this.ended && available > 0))) {
        this.moving = true;
        this.target = 1;
        this.step = 1 / this.fade;
        this.unreported = 1e9;
      }
      // too little is left to go on: use it to fade out, then wait
      if (this.moving && !this.closing && available < n + this.fade) this.target = 0;
      if (this.moving) {
        this.play(left, right);
        if (this.gain === 0 && this.target === 0) {
          this.moving = false;
          if (!this.closing && !this.ended) {
            this.underruns++;
            this.need = this.again;
          }
          this.unreported = 1e9;
        }
      }
      if (!this.moving && (this.closing || (this.ended && this.write - this.read < n + this.fade)))
        this.over = true;
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

  class Tap extends AudioWorkletProcessor {
    // hears the first channel for a while, to measure delays
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
}

export const WORKLET = `(${worklet})();`;
