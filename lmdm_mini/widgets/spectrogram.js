// The spectrogram of a sound as it grows: columns of bytes in a ring.

import { RATE } from "./sound.js";

export const WINDOW = 2048,
  HOP = 1024,
  ROWS = 96,
  COLUMNS = 2048; // 2,048 columns of 23 ms are 47 s
export const LOWEST = 40,
  HIGHEST = 16000,
  QUIET = -85,
  LOUD = -15; // Hz, dB (a full-scale sine is 0)
const HANN = Float32Array.from(
  { length: WINDOW },
  (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW),
);
const COS = Float32Array.from({ length: WINDOW / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / WINDOW));
const SIN = Float32Array.from({ length: WINDOW / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / WINDOW));

function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2,
      stride = n / size;
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < half; k++) {
        const c = COS[k * stride],
          s = SIN[k * stride],
          p = start + k,
          q = p + half;
        const x = re[q] * c - im[q] * s,
          y = re[q] * s + im[q] * c;
        re[q] = re[p] - x;
        im[q] = im[p] - y;
        re[p] += x;
        im[p] += y;
      }
    }
  }
}

export class Spectrogram {
  constructor() {
    this.values = new Uint8Array(COLUMNS * ROWS); // a ring, column after column
    this.count = 0; // columns so far
    this.tail = new Float32Array(WINDOW); // zeros before the first sample: column i is centred on i * HOP
    this.filled = WINDOW / 2;
    this.re = new Float32Array(WINDOW);
    this.im = new Float32Array(WINDOW);
  }
  push(left, right) {
    for (let i = 0; i < left.length; i++) {
      this.tail[this.filled++] = (left[i] + right[i]) / 2;
      if (this.filled === WINDOW) {
        this.column();
        this.tail.copyWithin(0, HOP);
        this.filled = WINDOW - HOP;
      }
    }
  }
  column() {
    for (let i = 0; i < WINDOW; i++) {
      this.re[i] = this.tail[i] * HANN[i];
      this.im[i] = 0;
    }
    fft(this.re, this.im);
    const power = (bin) => this.re[bin] ** 2 + this.im[bin] ** 2;
    const offset = (this.count++ % COLUMNS) * ROWS;
    for (let row = 0; row < ROWS; row++) {
      const low = (LOWEST * (HIGHEST / LOWEST) ** (row / ROWS) * WINDOW) / RATE;
      const high = (LOWEST * (HIGHEST / LOWEST) ** ((row + 1) / ROWS) * WINDOW) / RATE;
      let most = 0;
      if (high - low > 1)
        for (let bin = Math.ceil(low); bin <= high; bin++) most = Math.max(most, power(bin));
      else {
        const middle = (low + high) / 2,
          below = Math.floor(middle),
          share = middle - below;
        most = power(below) * (1 - share) + power(below + 1) * share;
      }
      const decibels = 10 * Math.log10(most / (WINDOW / 4) ** 2 + 1e-12);
      this.values[offset + row] = Math.max(0, Math.min(255, (255 * (decibels - QUIET)) / (LOUD - QUIET)));
    }
  }
}
