// The browser's half of StreamPlayer (player.py): an anywidget module, no build step.
// Three parts: the worklet that turns pieces into sound, the engine (one a widget) that talks with Python and
// keeps the books, and the view that draws them.

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
  process(_, [out]) {
    const left = out[0], right = out[1] || out[0], n = left.length;
    const available = this.write - this.read;
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
`;

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

// ---------------------------------------------------------------- engine: one a widget, however many views
const engines = new Map(); // player_id -> engine

function makeEngine(model) {
  const id = model.get("player_id");
  const channels = model.get("has_reference") ? 4 : 2;
  const kernel = model.widget_manager?.kernel;
  const views = new Set();
  let line = null; // promise of our comm to Python
  let context = null, node = null, ticker = null, resumed = null;

  const engine = {
    state: "idle", note: "", error: "", listening: false, views,
    ...emptyBooks(),
    start, stop, hear, now,
  };

  function emptyBooks() {
    return {
      run: null, blocks: [], next: 0, held: new Map(), backlog: [], started: 0, firstSound: null, ended: false,
      answered: false, endNote: "",
      read: 0, write: 0, underruns: 0, peak: 0, moving: false, at: 0, received: 0,
      pictures: Array.from({ length: channels / 2 }, () => new Spectrogram()),
    };
  }

  function changed() { for (const view of views) view(); }

  // Our own comm to Python. JupyterLab gives it a subshell, a thread of the kernel that listens while a cell is
  // running; what is sent before that thread is there would wait for the end of the cell.
  async function openLine() {
    const comm = kernel.createComm("lmdm_mini.player");
    if (kernel.supportsSubshells && comm.subshellStarted) {
      await Promise.race([comm.subshellStarted, new Promise((late) => setTimeout(late, 1500))]);
    }
    comm.open({ player: id });
    return comm;
  }

  async function send(message) {
    try {
      if (kernel?.createComm) (await (line ??= openLine())).send(message);
      else model.send(message);
    } catch (problem) {
      console.warn("StreamPlayer:", problem);
      line = null;
      if (engine.run === message.run && message.kind === "start") {
        finish(0, "", "There is no running kernel behind this page: run the notebook to start the player.");
      }
    }
  }

  async function start() {
    if (!window.AudioContext || !window.isSecureContext) {
      engine.error = "This page may not play live sound: open the notebook at https:// or at localhost.";
      return changed();
    }
    finish(0.05, "");
    window.dispatchEvent(new CustomEvent("lmdm-player-start", { detail: id })); // others fall silent
    const run = Math.random().toString(36).slice(2);
    Object.assign(engine, emptyBooks(), {
      run, state: "waiting", note: "waiting for the first block …", error: "", started: performance.now(),
    });
    // context and resume belong to the click itself, before any await, or the sound stays suspended
    const mine = (context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" }));
    const awake = mine.resume();
    changed();
    send({ kind: "start", run });
    ticker = setInterval(tick, 250);
    const source = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    try {
      await Promise.all([awake, mine.audioWorklet.addModule(source)]);
    } catch (problem) {
      if (engine.run === run) finish(0, "", `The browser's sound did not start: ${problem.message}`, true);
      return;
    } finally {
      URL.revokeObjectURL(source);
    }
    if (engine.run !== run) return; // stopped meanwhile
    const samples = (name) => Math.round(model.get(name) * RATE);
    node = new AudioWorkletNode(mine, "stream-ring", {
      numberOfInputs: 0, outputChannelCount: [2],
      processorOptions: {
        channels, capacity: RING_SECONDS * RATE, fade: FADE,
        need: samples("prebuffer_seconds"), again: samples("lead_seconds"),
      },
    });
    node.port.onmessage = ({ data }) => heardBack(run, data);
    node.connect(mine.destination);
    if (engine.listening) hear(true);
    flush();
  }

  // Ends what is playing, if anything: fades out, tells Python, keeps the picture.
  function finish(fade, note, error = "", tell = false) {
    if (tell && engine.run) send({ kind: "stop", run: engine.run });
    clearInterval(ticker);
    if (context) {
      const [oldContext, oldNode] = [context, node];
      oldNode?.port.postMessage({ kind: "close", seconds: fade });
      setTimeout(() => oldContext.close(), 1000 * fade + 150);
    }
    context = node = null;
    Object.assign(engine, {
      run: null, moving: false, at: performance.now(), note, error, backlog: [], held: new Map(),
      state: error ? "error" : "idle",
    });
    changed();
  }

  function stop(note = "stopped") {
    if (engine.run) finish(0.05, note, "", true);
  }

  function hear(reference) {
    engine.listening = reference;
    node?.port.postMessage({ kind: "listen", reference });
    changed();
  }

  function now() { // seconds heard
    const since = engine.moving ? (performance.now() - engine.at) / 1000 : 0;
    return Math.min(engine.read / RATE + Math.min(since, 0.2), engine.write / RATE);
  }

  function flush() { // to the worklet, as far as its ring has room
    while (node && engine.backlog.length) {
      const { samples, planes } = engine.backlog[0];
      if (engine.write - engine.read + samples > RING_SECONDS * RATE) return;
      engine.backlog.shift();
      engine.write += samples;
      node.port.postMessage({ kind: "sound", samples, planes }, [planes.buffer]);
    }
    if (node && engine.ended && !engine.backlog.length) node.port.postMessage({ kind: "end" });
  }

  function heardBack(run, { read, underruns, peak, moving, over }) {
    if (engine.run !== run) return;
    if (engine.firstSound === null && read > 0) engine.firstSound = performance.now() - engine.started;
    Object.assign(engine, { read, underruns, peak, moving, at: performance.now() });
    if (over) return finish(0, engine.endNote);
    engine.state = moving ? "playing" : "waiting";
    engine.note = moving ? "" : read > 0 ? "the stream is late: waiting …" : "waiting for the first block …";
    flush();
    changed();
  }

  function tick() {
    if (engine.answered && !engine.ended) {
      const running = engine.moving && context?.state === "running";
      send({ kind: "report", run: engine.run, played: engine.read / RATE, moving: running });
    } else if (!engine.answered && performance.now() - engine.started > 4000) {
      engine.note = "the kernel does not answer: it is busy or gone (then run the cell again)";
      changed();
    }
  }

  model.on("msg:custom", (message, buffers) => {
    if (!engine.run || message.run !== engine.run) return; // of an earlier Start: stale
    if (message.kind === "started") engine.answered = true;
    if (message.kind === "block") engine.blocks.push(message);
    if (message.kind === "end") {
      if (message.reason === "error") return finish(0.3, "", message.text);
      if (message.reason === "stopped" || message.reason.startsWith("another")) return finish(0.05, message.reason);
      Object.assign(engine, { ended: true, endNote: message.reason });
      if (!engine.received) return finish(0, "the stream was empty");
      flush();
    }
    if (message.kind === "sound" && message.seq >= engine.next) {
      const view = buffers[0];
      const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
      engine.held.set(message.seq, { samples: message.samples, planes: new Float32Array(bytes) });
      // in order; a piece that is still missing when ten later ones are here was lost
      while (engine.held.size && (engine.held.has(engine.next) || engine.held.size > 10)) {
        const piece = engine.held.get(engine.next++);
        if (!piece) continue;
        engine.held.delete(engine.next - 1);
        engine.received += piece.samples;
        engine.pictures.forEach((picture, i) => picture.push(
          piece.planes.subarray(2 * i * piece.samples, (2 * i + 1) * piece.samples),
          piece.planes.subarray((2 * i + 1) * piece.samples, (2 * i + 2) * piece.samples)));
        engine.backlog.push(piece);
      }
      flush();
    }
    changed();
  });

  const onOther = ({ detail }) => { if (detail !== id) stop("another player was started"); };
  const onStatus = (_, status) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status) && engine.run) {
      finish(0.1, "", "The kernel was restarted: run the cell again.");
    }
  };
  window.addEventListener("lmdm-player-start", onOther);
  kernel?.statusChanged?.connect(onStatus);
  engine.dispose = () => {
    stop();
    line?.then((comm) => comm.close(), () => {});
    window.removeEventListener("lmdm-player-start", onOther);
    kernel?.statusChanged?.disconnect(onStatus);
    engines.delete(id);
  };
  return engine;
}

// ---------------------------------------------------------------- view
const BARS = 92, PICTURE = 104, GAP = 10, AXIS = 20, LEFT = 44, RIGHT = 6; // CSS pixels

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

function render({ model, el }) {
  const engine = engines.get(model.get("player_id"));
  const root = document.createElement("div");
  root.className = "lmdm-player";
  root.innerHTML = `
    <div class="lmdm-head">
      <button type="button" class="lmdm-start">Start</button>
      <span class="lmdm-title"></span>
      <button type="button" class="lmdm-side" aria-pressed="false">hear the reference</button>
      <span class="lmdm-note" role="status"></span>
    </div>
    <div class="lmdm-error" role="alert"></div>
    <canvas role="img"></canvas>
    <div class="lmdm-numbers">
      ${["heard", "block RTF", "lead", "underruns", "first sound"]
        .map((name) => `<div><span>${name}</span><b>–</b></div>`).join("")}
    </div>`;
  el.append(root);
  const [button, side, canvas] = ["button.lmdm-start", "button.lmdm-side", "canvas"].map((s) => root.querySelector(s));
  const [title, note, error] = ["title", "note", "error"].map((name) => root.querySelector(`.lmdm-${name}`));
  const numbers = [...root.querySelectorAll(".lmdm-numbers b")];
  const pen = canvas.getContext("2d");
  const tracks = engine.pictures.length;
  title.textContent = model.get("title");
  side.hidden = tracks < 2;
  canvas.setAttribute("aria-label", "Cost of each block over a spectrogram of the sound");

  let theme = null, films = [], frame = 0, scale = 1.3;

  function layout() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(240, canvas.clientWidth);
    const height = BARS + GAP + tracks * (PICTURE + GAP) - GAP + AXIS;
    const wanted = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) {
      [canvas.width, canvas.height] = wanted;
      canvas.style.height = `${height}px`;
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return [width, height];
  }

  function text(words, x, y, color, align = "left", size = 11) {
    pen.font = `${size}px ${theme.font}`;
    pen.fillStyle = color;
    pen.textAlign = align;
    pen.textBaseline = "middle";
    pen.fillText(words, x, y);
  }

  function draw() {
    frame = 0;
    const fresh = readTheme(root);
    if (fresh.key !== theme?.key) { theme = fresh; films = theme.ramps.map(makeFilm); }
    const [width, height] = layout();
    const span = width < 480 ? 8 : width < 760 ? 12 : 16; // seconds in sight
    const now = engine.now(), from = Math.max(0, now - 0.7 * span);
    const plot = width - LEFT - RIGHT;
    const place = (seconds) => LEFT + ((seconds - from) / span) * plot;
    pen.clearRect(0, 0, width, height);
    const bottom = height - AXIS;

    // time axis
    const every = span > 10 ? 2 : 1;
    for (let s = Math.ceil(from / every) * every; s <= from + span; s += every) {
      pen.fillStyle = theme.line;
      pen.fillRect(Math.round(place(s)), bottom, 1, 4);
      const right = s > from + span - 0.3 * every;
      text(`${s} s`, place(s), bottom + 12, theme.soft, right ? "right" : s === 0 ? "left" : "center");
    }

    // a bar a block: its height is the time it took over the time it lasts
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, plot, height);
    pen.clip();
    const seen = engine.blocks.filter((b) => b.seconds > 0 && b.start < from + span && b.start + b.seconds > from);
    const most = Math.max(1, ...seen.map((b) => b.made / b.seconds));
    scale += 0.15 * (Math.min(4, Math.max(1.35, 1.15 * most)) - scale); // glides, so that bars do not jump
    const up = (factor) => BARS - (Math.min(factor, scale) / scale) * (BARS - 14);
    for (const block of seen) {
      const factor = block.made / block.seconds, x = place(block.start), top = Math.min(up(factor), BARS - 2);
      const wide = (block.seconds / span) * plot;
      pen.globalAlpha = block.start <= now ? 0.95 : 0.4;
      pen.fillStyle = factor > 1 ? theme.slow : theme.fast;
      pen.beginPath();
      pen.roundRect(x + 0.5, top, Math.max(1, wide - 1.5), BARS - top, [Math.min(3, wide / 4), Math.min(3, wide / 4), 0, 0]);
      pen.fill();
      pen.globalAlpha = 1;
      if (wide > 30) {
        text(factor < 0.1 ? factor.toFixed(3) : factor.toFixed(2), x + wide / 2, top - 7, theme.soft, "center", 10);
      }
      if (block.label && wide > 30) text(block.label, x + wide / 2, BARS + 5, theme.soft, "center", 9);
    }
    pen.strokeStyle = theme.soft;
    pen.setLineDash([4, 4]);
    pen.beginPath();
    pen.moveTo(LEFT, Math.round(up(1)) + 0.5);
    pen.lineTo(width, Math.round(up(1)) + 0.5);
    pen.stroke();
    pen.setLineDash([]);

    // what is heard; what is still to come is veiled
    const perColumn = HOP / RATE;
    engine.pictures.forEach((picture, track) => {
      const top = BARS + GAP + track * (PICTURE + GAP);
      const film = films[track](picture);
      pen.imageSmoothingQuality = "high";
      const last = Math.min(picture.count, Math.ceil((from + span) / perColumn));
      let column = Math.max(0, Math.floor(from / perColumn), picture.count - COLUMNS);
      while (column < last) {
        const x = column % COLUMNS, count = Math.min(last - column, COLUMNS - x);
        pen.drawImage(film, x, 0, count, ROWS, place((column - 0.5) * perColumn), top,
          ((count * perColumn) / span) * plot, PICTURE);
        column += count;
      }
      pen.globalAlpha = tracks > 1 && (track === 1) !== engine.listening ? 0.35 : 0;
      pen.fillStyle = theme.paper;
      pen.fillRect(LEFT, top, plot, PICTURE);
      pen.globalAlpha = 0.6;
      pen.fillRect(place(now), top, width, PICTURE);
      pen.globalAlpha = 1;
    });
    pen.restore();

    text("real time", width - RIGHT, up(1) - 7, theme.soft, "right", 10);
    text("RTF", LEFT - 6, 8, theme.soft, "right", 10);
    text("1", LEFT - 6, up(1), theme.soft, "right", 10);
    text("0", LEFT - 6, BARS - 3, theme.soft, "right", 10);
    pen.fillStyle = theme.line;
    pen.fillRect(LEFT, BARS, plot, 1);
    for (let track = 0; track < tracks; track++) {
      const top = BARS + GAP + track * (PICTURE + GAP);
      pen.fillStyle = theme.line;
      pen.fillRect(LEFT, top + PICTURE, plot, 1);
      for (const [hertz, words] of [[100, "100 Hz"], [1000, "1 kHz"], [10000, "10 kHz"]]) {
        const y = top + PICTURE * (1 - Math.log(hertz / LOWEST) / Math.log(HIGHEST / LOWEST));
        text(words, LEFT - 6, y, theme.soft, "right", 10);
      }
      if (tracks > 1) text(track ? "reference" : "stream", width - RIGHT - 4, top + 9, theme.soft, "right", 10);
    }
    if (engine.run || now > 0) {
      pen.fillStyle = theme.ink;
      pen.fillRect(Math.round(place(now)) - 0.75, 0, 1.5, bottom);
    } else if (!engine.blocks.length) {
      text("press Start", LEFT + plot / 2, BARS + GAP + PICTURE / 2, theme.soft, "center", 13);
    }
    if (engine.moving || Math.abs(Math.min(4, Math.max(1.35, 1.15 * most)) - scale) > 0.01) again();
  }

  function again() { frame ||= requestAnimationFrame(draw); }

  function update() {
    const on = engine.run !== null;
    const block = engine.blocks.at(-1);
    const factor = block && block.seconds > 0 ? block.made / block.seconds : null;
    const lead = on ? Math.max(0, Math.round(1000 * (engine.received / RATE - engine.now()))) : 0;
    const first = engine.firstSound === null ? null : Math.round(engine.firstSound);
    Object.assign(root.dataset, {
      state: engine.state, playedSeconds: (engine.read / RATE).toFixed(3), underruns: engine.underruns,
      blocks: engine.blocks.length, peak: engine.peak.toFixed(4), leadMs: lead, firstSoundMs: first ?? "",
      rtf: factor === null ? "" : factor.toFixed(4),
    });
    button.textContent = on ? "Stop" : "Start";
    side.setAttribute("aria-pressed", engine.listening);
    if (note.textContent !== engine.note) note.textContent = engine.note;
    if (error.textContent !== engine.error) error.textContent = engine.error;
    const known = engine.blocks.length > 0;
    [
      known ? `${engine.now().toFixed(1)} s` : "–",
      factor === null ? "–" : factor.toFixed(factor < 0.1 ? 3 : 2),
      on && known ? `${lead} ms` : "–",
      known ? `${engine.underruns}` : "–",
      first === null ? "–" : `${first} ms`,
    ].forEach((value, i) => { if (numbers[i].textContent !== value) numbers[i].textContent = value; });
    again();
  }

  button.addEventListener("click", () => (engine.run ? engine.stop() : engine.start()));
  side.addEventListener("click", () => engine.hear(!engine.listening));
  const sizes = new ResizeObserver(again);
  sizes.observe(root);
  const themes = new MutationObserver(again);
  themes.observe(document.body, { attributes: true });
  engine.views.add(update);
  update();
  return () => {
    engine.views.delete(update);
    sizes.disconnect();
    themes.disconnect();
    cancelAnimationFrame(frame);
    if (engine.views.size === 0) engine.stop(); // the cell was run again or its output cleared
  };
}

export default {
  initialize({ model }) {
    const engine = makeEngine(model);
    engines.set(model.get("player_id"), engine);
    return engine.dispose;
  },
  render,
};
