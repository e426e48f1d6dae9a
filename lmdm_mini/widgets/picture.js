// Shared by the widgets: spectrograms while they are played, in the colours of the notebook's theme.

// ---------------------------------------------------------------- spectrogram: columns of bytes
const WINDOW = 2048, HOP = 1024, ROWS = 96, COLUMNS = 2048; // 2,048 columns of 23 ms are 47 s
const LOWEST = 40, HIGHEST = 16000, QUIET = -85, LOUD = -15; // Hz, dB (a full-scale sine is 0)
const HANN = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));
const COS = Float32Array.from({ length: WINDOW / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / WINDOW));
const SIN = Float32Array.from({ length: WINDOW / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / WINDOW));

function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2, stride = n / size;
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < half; k++) {
        const c = COS[k * stride], s = SIN[k * stride], p = start + k, q = p + half;
        const x = re[q] * c - im[q] * s, y = re[q] * s + im[q] * c;
        re[q] = re[p] - x; im[q] = im[p] - y;
        re[p] += x; im[p] += y;
      }
    }
  }
}

class Spectrogram {
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
    for (let i = 0; i < WINDOW; i++) { this.re[i] = this.tail[i] * HANN[i]; this.im[i] = 0; }
    fft(this.re, this.im);
    const power = (bin) => this.re[bin] ** 2 + this.im[bin] ** 2;
    const offset = (this.count++ % COLUMNS) * ROWS;
    for (let row = 0; row < ROWS; row++) {
      const low = (LOWEST * (HIGHEST / LOWEST) ** (row / ROWS) * WINDOW) / RATE;
      const high = (LOWEST * (HIGHEST / LOWEST) ** ((row + 1) / ROWS) * WINDOW) / RATE;
      let most = 0;
      if (high - low > 1) for (let bin = Math.ceil(low); bin <= high; bin++) most = Math.max(most, power(bin));
      else {
        const middle = (low + high) / 2, below = Math.floor(middle), share = middle - below;
        most = power(below) * (1 - share) + power(below + 1) * share;
      }
      const decibels = 10 * Math.log10(most / (WINDOW / 4) ** 2 + 1e-12);
      this.values[offset + row] = Math.max(0, Math.min(255, (255 * (decibels - QUIET)) / (LOUD - QUIET)));
    }
  }
}

// ---------------------------------------------------------------- colours and films
function readTheme(root) {
  const style = getComputedStyle(root);
  const name = (key) => style.getPropertyValue(`--lmdm-${key}`).trim();
  const rgb = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
  const hex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
  const paper = rgb(style.backgroundColor);
  const dark = paper[0] + paper[1] + paper[2] < 384;
  const ramp = (color) => { // 256 colours from paper over the hue to what stands out most
    const stops = [paper, hex(color), dark ? [255, 250, 240] : hex(color).map((v) => v * 0.28)];
    return Array.from({ length: 256 }, (_, i) => {
      const x = (i / 255) * 2, k = Math.min(1, Math.floor(x));
      return stops[k].map((v, j) => v + (x - k) * (stops[k + 1][j] - v));
    });
  };
  return {
    key: style.backgroundColor + style.color, ink: style.color, line: style.borderTopColor,
    soft: getComputedStyle(root.querySelector(".lmdm-note")).color, paper: style.backgroundColor,
    fast: name("context"), slow: name("fake"), font: style.fontFamily,
    ramps: [ramp(name("context")), ramp(name("real"))],
  };
}

// The columns of a spectrogram as a canvas whose x is the column's place in the ring.
function makeFilm(ramp) {
  const canvas = Object.assign(document.createElement("canvas"), { width: COLUMNS, height: ROWS });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(1, ROWS);
  let drawn = 0, last = null;
  return (picture) => {
    if (picture !== last) { pen.clearRect(0, 0, COLUMNS, ROWS); drawn = 0; last = picture; }
    for (drawn = Math.max(drawn, picture.count - COLUMNS); drawn < picture.count; drawn++) {
      const x = drawn % COLUMNS;
      for (let row = 0; row < ROWS; row++) {
        const color = ramp[picture.values[x * ROWS + row]], at = 4 * (ROWS - 1 - row);
        image.data.set([color[0], color[1], color[2], 255], at);
      }
      pen.putImageData(image, x, 0);
    }
    return canvas;
  };
}

// ---------------------------------------------------------------- drawing
const PACE = 66; // ms: a faster picture takes the processor from the model

// A function that asks for `draw` to be called soon, and not more often than every PACE ms; `.stop()` ends that.
function paced(draw) {
  let waiting = false, last = 0, stopped = false;
  const again = () => {
    if (waiting || stopped) return;
    waiting = true;
    setTimeout(() => requestAnimationFrame(() => {
      waiting = false;
      last = performance.now();
      if (!stopped) draw();
    }), Math.max(0, last + PACE - performance.now()));
  };
  again.stop = () => { stopped = true; };
  return again;
}

// readTheme, but not for every picture.
function themeOf(root) {
  let theme = null, read = 0;
  return () => {
    if (!theme || performance.now() - read > 500) {
      read = performance.now();
      const fresh = readTheme(root);
      if (fresh.key !== theme?.key) theme = fresh;
    }
    return theme;
  };
}

// Gives a canvas the resolution of the screen; returns its width in CSS pixels.
function fitCanvas(canvas, pen, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(240, canvas.clientWidth);
  const wanted = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) {
    [canvas.width, canvas.height] = wanted;
    canvas.style.height = `${height}px`;
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return width;
}

function write(pen, theme, words, x, y, color, align = "left", size = 11) {
  pen.font = `${size}px ${theme.font}`;
  pen.fillStyle = color;
  pen.textAlign = align;
  pen.textBaseline = "middle";
  pen.fillText(words, x, y);
}

// Seconds under everything; place: from seconds to x.
function drawTimes(pen, theme, from, span, place, bottom) {
  const every = span > 10 ? 2 : 1;
  for (let s = Math.ceil(from / every) * every; s <= from + span; s += every) {
    pen.fillStyle = theme.line;
    pen.fillRect(Math.round(place(s)), bottom, 1, 4);
    const right = s > from + span - 0.3 * every;
    write(pen, theme, `${s} s`, place(s), bottom + 12, theme.soft, right ? "right" : s === 0 ? "left" : "center");
  }
}

function drawHertz(pen, theme, right, top, height) {
  for (const [hertz, words] of [[100, "100 Hz"], [1000, "1 kHz"], [10000, "10 kHz"]]) {
    write(pen, theme, words, right, top + height * (1 - Math.log(hertz / LOWEST) / Math.log(HIGHEST / LOWEST)), theme.soft, "right", 10);
  }
}

// The part of a film that is in sight; it is a ring, so there may be two pieces of it.
function drawFilm(pen, film, picture, from, span, place, top, height) {
  const perColumn = HOP / RATE, scale = place(1) - place(0);
  pen.imageSmoothingQuality = "high";
  const last = Math.min(picture.count, Math.ceil((from + span) / perColumn));
  let column = Math.max(0, Math.floor(from / perColumn), picture.count - COLUMNS);
  while (column < last) {
    const x = column % COLUMNS, count = Math.min(last - column, COLUMNS - x);
    pen.drawImage(film, x, 0, count, ROWS, place((column - 0.5) * perColumn), top, count * perColumn * scale, height);
    column += count;
  }
}

