// The browser's half of JamSession (jam.py): an anywidget module, no build step. Before it stand sound.js, picture.js, synth.js and
// surface.js (browser.py joins them). Two parts: the jam (one a widget) that owns sound and microphone and talks with Python, and
// the view.

const AGAIN_SECONDS = 0.7; // of sound in hand before it begins, and after it ran out: less than FIRST_SECONDS of engine.py
const PIECE = 4410; // samples of the player's sound in a message, 100 ms: each costs the page and the kernel some milliseconds
const CHIRP_SECONDS = 0.03;

// ---------------------------------------------------------------- jam: one a widget, however many views
const jams = new Map(); // jam_id -> jam

function makeJam(model) {
  const id = model.get("jam_id");
  const kernel = model.widget_manager?.kernel;
  const views = new Set();
  let line = null, context = null, node = null, ticker = null;
  let microphone = null, file = null, local = null, delay = null, meter = null, outMeter = null, mixed = null, synth = null;
  let asked = 0, measuredDevice = "", midi = null;

  const jam = {
    views, state: "idle", note: "", error: "", roundTrip: 0.03, measured: false, devices: [], device: "", mic: "off", micError: "",
    file: null, keys: false, midi: "", yours: null, saved: [], folder: "", downloads: new Map(), ...emptyBooks(),
    start, stop, panic, set, forget, save, fetch, now, level, useMicrophone, usePicked, usePassed, useKeys, press, release, measureDelay,
    context: () => context,
  };

  function emptyBooks() {
    return {
      run: null, blocks: [], arrive: inOrder(take), backlog: [], started: 0, firstSound: null, answered: false,
      read: 0, write: 0, received: 0, underruns: 0, cause: "", peak: 0, moving: false, at: 0, left: null, recorded: 0, full: false,
      made: new Spectrogram(), played: new Spectrogram(), pictured: 0, answers: [],
    };
  }

  function changed() { for (const view of views) view(); }

  function say(note, seconds = Infinity) { // a note that goes away by itself
    jam.note = note;
    if (seconds < Infinity) setTimeout(() => { if (jam.note === note) { jam.note = ""; changed(); } }, 1000 * seconds);
  }

  async function send(message, buffers) {
    try {
      if (kernel?.createComm) (await (line ??= openLine(kernel, "lmdm_mini.jam", id))).send(message, undefined, buffers);
      else model.send(message, undefined, buffers);
    } catch (problem) {
      console.warn("JamSession:", problem);
      line = null;
      if (message.kind === "start") finish(0, "", "There is no running kernel behind this page: run the notebook, then press Start.");
    }
  }

  // -- sound: one context for as long as the widget lives, made by the first click
  async function wake() {
    if (!window.AudioContext || !window.isSecureContext) {
      throw new Error("this page may not play live sound: open the notebook at https:// or at localhost");
    }
    if (!context) {
      context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
      const mine = context;
      local = new GainNode(mine); // what the player makes in this page: it is heard, and captured
      delay = new DelayNode(mine, { maxDelayTime: 1, delayTime: 0 });
      meter = new AnalyserNode(mine, { fftSize: 2048 });
      outMeter = new AnalyserNode(mine, { fftSize: 2048 });
      mixed = new MediaStreamAudioDestinationNode(mine);
      local.connect(mine.destination);
      local.connect(delay);
      local.connect(meter);
      local.connect(mixed);
      synth = new Synth(mine, local);
      const awake = mine.resume(); // belongs to the click itself, before any await
      const source = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
      mine.ready = Promise.all([awake, mine.audioWorklet.addModule(source)]).finally(() => URL.revokeObjectURL(source));
      jam.roundTrip = guessDelay();
      jam.mix = mixed.stream;
      align();
    } else if (context.state !== "running") context.resume();
    await context.ready;
    if (!jam.measured) { jam.roundTrip = guessDelay(); align(); }
  }

  function guessDelay() { // out through the speaker and back through the microphone, seconds
    const input = microphone?.stream.getAudioTracks()[0]?.getSettings?.().latency || 0.01;
    return (context.baseLatency || 0) + (context.outputLatency || 0.02) + input;
  }

  // What the microphone brings is late by the round trip, and is labelled so; what is made in this page waits for it.
  function align() { delay.delayTime.value = microphone ? Math.min(1, jam.roundTrip) : 0; }

  async function start(settings) {
    finish(0.05, "");
    window.dispatchEvent(new CustomEvent("lmdm-player-start", { detail: id })); // others fall silent
    const run = Math.random().toString(36).slice(2);
    Object.assign(jam, emptyBooks(), { run, state: "waiting", note: "waiting for the first block …", error: "", started: performance.now() });
    send({ kind: "start", run, settings });
    ticker = setInterval(tick, 400);
    changed();
    try {
      await wake();
    } catch (problem) {
      if (jam.run === run) finish(0, "", `The browser's sound did not start: ${problem.message}.`, true);
      return;
    }
    if (jam.run !== run) return; // stopped meanwhile
    const need = Math.round(AGAIN_SECONDS * RATE);
    node = new AudioWorkletNode(context, "stream-ring", {
      numberOfInputs: 1, outputChannelCount: [2],
      processorOptions: { channels: 2, capacity: RING_SECONDS * RATE, fade: FADE, need, again: need, capture: PIECE },
    });
    node.port.onmessage = ({ data }) => heardBack(run, data);
    for (const end of [context.destination, outMeter, mixed]) node.connect(end);
    plug();
    flush();
  }

  // What goes into the capture: nothing if nobody plays, so that nothing is sent.
  function plug() {
    if (!node) return;
    for (const source of [delay, microphone?.source]) {
      try { source?.disconnect(node); } catch { /* was not connected */ }
    }
    if (file || jam.keys) delay.connect(node);
    microphone?.source.connect(node);
  }

  // Ends what is playing, if anything: fades out, tells Python, keeps the picture.
  function finish(fade, note, error = "", tell = false) {
    if (tell && jam.run) send({ kind: "stop", run: jam.run });
    clearInterval(ticker);
    const old = node;
    node = null;
    if (old) {
      old.port.postMessage({ kind: "close", seconds: fade });
      setTimeout(() => {
        old.port.onmessage = null;
        old.disconnect();
        for (const source of [delay, microphone?.source]) {
          try { source?.disconnect(old); } catch { /* was not connected */ }
        }
      }, 1000 * fade + 150);
    }
    Object.assign(jam, { run: null, moving: false, at: performance.now(), note, error, backlog: [], state: error ? "error" : "idle" });
    changed();
  }

  function stop(note = "stopped") { if (jam.run) finish(0.05, note, "", true); }

  function panic(settings) { // silence at once, and on from nothing
    synth?.silence();
    if (jam.run) start(settings);
  }

  function set(settings) { send({ kind: "set", settings }); }
  function forget() { send({ kind: "forget" }); }
  function save() { send({ kind: "save" }); }

  function fetch(name) {
    jam.downloads.set(name, { parts: [], got: 0 });
    send({ kind: "fetch", name });
  }

  function now() { return secondsHeard(jam, context?.state === "running"); }

  function flush() { feed(node, jam); }

  function take(piece) { // of the model's sound, in order
    jam.received += piece.samples;
    jam.made.push(piece.planes.subarray(0, piece.samples), piece.planes.subarray(piece.samples));
    jam.backlog.push(piece);
  }

  function heardBack(run, data) {
    if (jam.run !== run) return;
    if (data.captured) return sendPiece(data);
    const { read, underruns, peak, moving } = data;
    if (jam.firstSound === null && read > 0) jam.firstSound = performance.now() - jam.started;
    if (underruns > jam.underruns) {
      jam.left = 0;
      const last = jam.blocks.at(-1);
      jam.cause = last && last.made > last.samples / RATE ? "a block took longer than it lasts" : "the sound came late to this page";
    }
    const turned = moving !== jam.moving;
    Object.assign(jam, { read, underruns, peak, moving, at: performance.now() });
    if (turned && jam.answered) tick(); // the engine goes by the clock from here
    jam.state = moving ? "playing" : "waiting";
    if (turned) say(moving ? "" : read > 0 ? "out of sound: waiting …" : "waiting for the first block …");
    flush();
    changed();
  }

  function sendPiece({ captured: [left, right], start }) {
    const place = start - Math.round((microphone ? jam.roundTrip : 0) * RATE);
    const bytes = new Int16Array(2 * left.length);
    [left, right].forEach((plane, c) => plane.forEach((value, i) => {
      bytes[c * left.length + i] = Math.max(-32768, Math.min(32767, Math.round(32768 * value)));
    }));
    if (place >= 0) send({ kind: "sound", start: place, rate: RATE }, [bytes.buffer]);
    if (jam.pictured < place) jam.played.push(new Float32Array(place - jam.pictured), new Float32Array(place - jam.pictured));
    const skip = Math.max(0, jam.pictured - place); // it may overlap when the delay was measured
    jam.played.push(left.subarray(skip), right.subarray(skip));
    jam.pictured = Math.max(jam.pictured, place + left.length);
  }

  function tick() {
    const asleep = context && context.state !== "running";
    if (jam.answered) {
      const moving = jam.moving && !asleep, { left } = jam;
      jam.left = null;
      send({ kind: "report", run: jam.run, played: jam.read / RATE, at: jam.at / 1000, moving, underruns: jam.underruns, left });
    } else if (performance.now() - jam.started > 6000) {
      const loading = model.get("state") === "loading";
      jam.note = loading ? "the model is still loading …" : "the kernel does not answer: it is busy or gone (then run the cell again)";
    }
    if (asleep && jam.answered) say("the browser has put the sound to sleep: click anywhere in this strip", 1);
    changed();
  }

  // -- what the player plays
  async function useMicrophone(on, device = jam.device) {
    const turn = ++asked; // an answer to an older question is no answer
    Object.assign(jam, { mic: on ? "asking" : "off", micError: "", device });
    changed();
    if (microphone) {
      microphone.source.disconnect();
      microphone.stream.getTracks().forEach((track) => track.stop());
      microphone = null;
      if (context) align();
    }
    if (!on) return changed();
    try {
      await wake();
      const camera = await model.widget_manager.get_model(model.get("microphone").replace("IPY_MODEL_", ""));
      camera.cameraStream = null; // it keeps its first stream, and its first refusal
      const wanted = camera.get("constraints");
      const audio = { ...wanted.audio, ...(device ? { deviceId: { exact: device } } : { deviceId: undefined }) };
      camera.set("constraints", { ...wanted, audio });
      const stream = await camera.captureStream();
      if (turn !== asked) return stream.getTracks().forEach((track) => track.stop());
      const source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
      microphone = { stream, source };
      source.connect(meter);
      stream.getAudioTracks()[0].addEventListener("ended", () => {
        if (microphone?.stream !== stream) return;
        useMicrophone(false, "").then(() => { jam.mic = "failed"; jam.micError = "The microphone was unplugged."; changed(); });
      });
      jam.device = stream.getAudioTracks()[0].getSettings().deviceId || device;
      if (jam.device !== measuredDevice) jam.measured = false;
      measuredDevice = jam.device;
      jam.mic = "on";
      if (!jam.measured) jam.roundTrip = guessDelay();
      align();
      plug();
      jam.devices = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "audioinput");
    } catch (problem) {
      if (turn !== asked) return;
      Object.assign(jam, { mic: "failed", device: "" }); // the next try may take any
      const denied = problem.name === "NotAllowedError";
      jam.micError = denied
        ? "The browser was not allowed to use the microphone: allow it at the padlock in the address bar, then try again. A file and the keys work without it."
        : problem.name === "NotFoundError"
          ? "No microphone was found. A file and the keys work without one."
          : `The microphone did not start: ${problem.message || problem.name}. A file and the keys work without it.`;
    }
    changed();
  }

  function playFile(buffer, name) {
    file?.disconnect();
    file = null;
    jam.file = null;
    if (buffer) {
      file = new AudioBufferSourceNode(context, { buffer, loop: true });
      file.connect(local);
      file.start();
      jam.file = name;
    }
    plug();
    changed();
  }

  async function usePicked(picked) { // a File, or null for silence
    if (!picked) return context && playFile(null);
    try {
      await wake();
      playFile(await context.decodeAudioData(await picked.arrayBuffer()), picked.name);
    } catch (problem) {
      jam.micError = `${picked.name} cannot be played: ${problem.message}`;
      changed();
    }
  }

  async function usePassed(on) { // what Python was given as `sound`
    if (!on) return playFile(null);
    await wake();
    if (!jam.yours) {
      send({ kind: "sound?" });
      jam.waiting = true;
      return;
    }
    const { samples, planes } = jam.yours;
    const buffer = new AudioBuffer({ length: samples, numberOfChannels: 2, sampleRate: RATE });
    [0, 1].forEach((c) => buffer.copyToChannel(planes.subarray(c * samples, (c + 1) * samples), c));
    playFile(buffer, "your recording");
  }

  async function useKeys(on) {
    jam.keys = on;
    plug();
    changed();
    if (!on) return synth?.silence();
    try {
      await wake();
    } catch (problem) {
      jam.micError = `The browser's sound did not start: ${problem.message}.`;
      return changed();
    }
    plug();
    midi ??= listenToMidi({
      on: (note, velocity) => { if (jam.keys) synth.on(note, velocity); }, off: (note) => synth.off(note), silence: () => synth.silence(),
    });
    try {
      const instruments = (await midi).inputs.size;
      jam.midi = instruments ? `${instruments} MIDI` : "";
    } catch { midi = null; /* no MIDI: the keys are enough */ }
    changed();
  }

  function press(key) { if (jam.keys && key in NOTES && !synth?.playing.has(NOTES[key])) synth?.on(NOTES[key]); }
  function release(key) { if (key in NOTES) synth?.off(NOTES[key]); }

  const samples = new Float32Array(2048);
  function level(own) { // peak in dB of what comes in, or goes out
    const analyser = own ? outMeter : meter;
    if (!analyser) return -Infinity;
    analyser.getFloatTimeDomainData(samples);
    return 20 * Math.log10(samples.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6));
  }

  // The round trip of this computer: a chirp goes out, and the lag at which the microphone has it is looked for.
  async function measureDelay() {
    if (jam.run || jam.mic !== "on") { jam.note = "switch the microphone on, and stop the music, to measure"; return changed(); }
    jam.note = "listening for a chirp …";
    changed();
    const n = Math.round(CHIRP_SECONDS * RATE), chirp = new AudioBuffer({ length: n, sampleRate: RATE });
    const wave = chirp.getChannelData(0);
    for (let i = 0; i < n; i++) wave[i] = 0.6 * Math.sin(Math.PI * i / n) * Math.sin(2 * Math.PI * (800 + 3000 * i / n / 2) * i / RATE);
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0, processorOptions: { samples: Math.round(0.7 * RATE) } });
    const heard = new Promise((done) => { tap.port.onmessage = ({ data }) => done(data); });
    microphone.source.connect(tap);
    const speaker = new AudioBufferSourceNode(context, { buffer: chirp }), when = context.currentTime + 0.15;
    speaker.connect(context.destination);
    if (jam.loopback) speaker.connect(jam.loopback); // tests have no air between speaker and microphone
    speaker.start(when);
    const { start, sound } = await heard;
    microphone?.source.disconnect(tap);
    const first = Math.round(when * RATE) - start;
    let best = 0, lag = 0, total = 0, count = 0;
    for (let at = Math.max(0, first); at + n < sound.length; at += 1) {
      let sum = 0;
      for (let i = 0; i < n; i += 2) sum += wave[i] * sound[at + i];
      sum = Math.abs(sum);
      total += sum; count++;
      if (sum > best) { best = sum; lag = at - first; }
    }
    if (best > 8 * (total / count) && best > 1e-3) {
      Object.assign(jam, { roundTrip: lag / RATE, measured: true, note: `round trip ${Math.round((1000 * lag) / RATE)} ms` });
      align();
    } else jam.note = "the microphone did not hear the chirp: no headphones, louder speaker";
    changed();
  }

  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "refused") say(message.text, 8);
    if (message.kind === "saved") {
      Object.assign(jam, { saved: message.names, folder: message.folder });
      say("saved", 5);
    }
    if (message.kind === "file") download(message, buffers[0]);
    if (message.kind === "yours") {
      jam.yours = { samples: message.samples, planes: floats(buffers[0]) };
      if (jam.waiting) { jam.waiting = false; usePassed(true); }
    }
    if (jam.run && message.run === jam.run) { // else of an earlier Start: stale
      if (message.kind === "started") jam.answered = true;
      if (message.kind === "block") addBlock(message);
      if (message.kind === "end") {
        if (message.reason === "error") finish(0.3, "", message.text);
        else finish(0.05, message.reason);
      }
      if (message.kind === "sound") {
        jam.arrive(message.seq, { samples: message.samples, planes: floats(buffers[0]) });
        flush();
      }
    }
    changed();
  });

  // How far behind the player is the answer: from the middle of what is new in a block to where that block begins.
  function addBlock(block) {
    const before = jam.blocks.at(-1);
    block.left = jam.received / RATE - now(); // seconds still to hear when it came
    if (jam.moving) jam.left = Math.min(block.left, jam.left ?? Infinity);
    if (before && block.heard > before.heard) {
      block.answer = (block.start - (before.heard + block.heard) / 2) / RATE;
      jam.answers = [...jam.answers.slice(-15), block.answer];
    }
    jam.blocks.push(block);
    if (jam.blocks.length > 400) jam.blocks.shift();
    Object.assign(jam, { recorded: block.recorded, full: block.full });
  }

  function download({ name, at, size }, buffer) {
    const file = jam.downloads.get(name);
    if (!file || file.parts.some(([start]) => start === at)) return;
    file.parts.push([at, new Uint8Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength))]);
    file.got += buffer.byteLength;
    say(`${name}: ${Math.round((100 * file.got) / size)} %`, 3);
    if (file.got < size) return;
    jam.downloads.delete(name);
    const parts = file.parts.sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
    const url = URL.createObjectURL(new Blob(parts));
    Object.assign(document.createElement("a"), { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  const onOther = ({ detail }) => { if (detail !== id) stop("another player was started"); };
  const onStatus = (_, status) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status)) {
      line = null;
      if (jam.run) finish(0.1, "", "The kernel was restarted: run the cell again.");
    }
  };
  const onLeave = () => stop();
  window.addEventListener("lmdm-player-start", onOther);
  window.addEventListener("pagehide", onLeave);
  kernel?.statusChanged?.connect(onStatus);
  jam.wakeUp = () => { if (context && context.state === "suspended" && jam.run) context.resume(); };
  jam.dispose = () => {
    stop();
    useMicrophone(false);
    midi?.then(forgetMidi, () => {});
    setTimeout(() => context?.close(), 300);
    line?.then((comm) => comm.close(), () => {});
    window.removeEventListener("lmdm-player-start", onOther);
    window.removeEventListener("pagehide", onLeave);
    kernel?.statusChanged?.disconnect(onStatus);
    jams.delete(id);
  };
  return jam;
}

// ---------------------------------------------------------------- view
const TRACK = 88, SPACE = 22, FOOT = 20, MARGIN = 44, TOP = 16; // CSS pixels
const SLIDERS = [
  ["mic_level", "it hears me", 0, 2, 0.05, (v) => v.toFixed(2)],
  ["output_level", "volume", 0, 1.5, 0.05, (v) => v.toFixed(2)],
  ["cfg_scale", "guidance", 1, 6, 0.5, (v) => v.toFixed(1)],
];
const CHOICES = [
  ["steps", "steps", [2, 4, 6, 8, 16], (n) => `${n}`],
  ["block_latents", "block", [12, 24, 48], (n) => `${n} frames, ${((n * 2048) / RATE).toFixed(2)} s`],
];
const NUMBERS = [
  ["answer", "my playing is answered after"], ["tempo", "tempo"], ["lead", "lead"], ["rtf", "real-time factor"], ["steps", "steps"],
  ["underruns", "ran out"], ["first", "first sound"],
];

function renderJam({ model, el }) {
  const jam = jams.get(model.get("jam_id"));
  const root = Object.assign(document.createElement("div"), { className: "lmdm-player lmdm-jam" });
  root.tabIndex = -1; // it keeps the focus wherever it is clicked
  root.dataset.lmSuppressShortcuts = "true"; // keys played here are no commands to the notebook
  root.innerHTML = `
    <div class="lmdm-head">
      <button type="button" class="lmdm-start">Start</button>
      <button type="button" class="lmdm-save"><i></i><span>Save</span></button>
      <span class="lmdm-title"></span>
      <span class="lmdm-note" role="status"></span>
    </div>
    <div class="lmdm-error" role="alert"></div>
    <div class="lmdm-files"></div>
    <div class="lmdm-desk">
      <div class="lmdm-place"></div>
      <div class="lmdm-side">
        <div class="lmdm-row" role="group" aria-label="what you play">
          <button type="button" class="lmdm-mic" aria-pressed="false">Microphone</button>
          <button type="button" class="lmdm-file" aria-pressed="false">File …</button>
          <button type="button" class="lmdm-keys" aria-pressed="false" title="${KEYS.slice(0, 13)}: C to C; and MIDI">Keys</button>
          <button type="button" class="lmdm-delay" title="plays a chirp and listens for it: how long sound takes from the speaker to the microphone">Delay</button>
          <input type="file" accept="audio/*" hidden aria-label="a recording to play along with">
        </div>
        <select class="lmdm-devices" aria-label="microphone" hidden></select>
        <div class="lmdm-mic-error" role="alert"></div>
        <div class="lmdm-meters">
          <span>you</span><div class="lmdm-meter" data-side="mic"><i></i></div>
          <span>model</span><div class="lmdm-meter" data-side="out"><i></i></div>
        </div>
        ${SLIDERS.map(([name, words, low, high, step]) => `<label>${words}<input type="range" name="${name}" min="${low}" max="${high}" step="${step}"><output></output></label>`).join("")}
        ${CHOICES.map(([name, words, all, say]) => `<label>${words}<select name="${name}">${all.map((n) => `<option value="${n}">${say(n)}</option>`).join("")}</select></label>`).join("")}
        <div class="lmdm-row">
          <button type="button" class="lmdm-follow" aria-pressed="true" title="its tempo and beat are those you play">Follow</button>
          <button type="button" class="lmdm-freeze" aria-pressed="false" title="the last bars again and again">Freeze</button>
          <button type="button" class="lmdm-forget" title="the model goes on as if nothing had been played">Forget</button>
          <button type="button" class="lmdm-panic" title="silence at once; then the session starts afresh">Panic</button>
        </div>
      </div>
    </div>
    <canvas role="img" aria-label="Spectrograms of what you play and of what the model plays, with the borders of its blocks"></canvas>
    <div class="lmdm-numbers">${NUMBERS.map(([name, words]) => `<div data-name="${name}"><span>${words}</span><b>–</b></div>`).join("")}</div>
    <audio class="lmdm-mix" muted hidden></audio>`;
  el.append(root);
  const find = (selector) => root.querySelector(selector);
  const surface = makeSurface(model, (mix) => { if (jam.run) jam.set({ prompt: mix }); });
  find(".lmdm-place").replaceWith(surface.root);
  const canvas = find("canvas"), pen = canvas.getContext("2d");
  find(".lmdm-title").textContent = model.get("title");
  const picker = find('input[type="file"]');
  let theme = null, films = [];
  const findTheme = themeOf(root), again = paced(draw);
  let updated = 0; // when words and numbers were last written: layout costs more than the picture

  // -- controls
  const settings = () => ({ ...model.get("settings"), frozen: false, prompt: surface.mix() });
  function turn(name, value) {
    model.set("settings", { ...model.get("settings"), [name]: value });
    model.save_changes();
    jam.set({ [name]: value });
    showSettings();
  }
  function showSettings() {
    const now = model.get("settings");
    for (const [name, , , , , say] of SLIDERS) {
      const slider = find(`input[name="${name}"]`);
      if (document.activeElement !== slider) slider.value = now[name];
      slider.nextElementSibling.textContent = say(Number(slider.value));
    }
    for (const [name] of CHOICES) find(`select[name="${name}"]`).value = now[name];
    find(".lmdm-freeze").setAttribute("aria-pressed", now.frozen);
    find(".lmdm-follow").setAttribute("aria-pressed", now.follow);
  }
  for (const [name] of SLIDERS) find(`input[name="${name}"]`).addEventListener("input", ({ target }) => turn(name, Number(target.value)));
  for (const [name] of CHOICES) find(`select[name="${name}"]`).addEventListener("change", ({ target }) => turn(name, Number(target.value)));
  const click = (name, act) => find(`.lmdm-${name}`).addEventListener("click", act);
  click("start", () => {
    if (jam.run) return jam.stop();
    if (model.get("settings").frozen) turn("frozen", false);
    jam.start(settings());
  });
  click("save", () => jam.save());
  click("follow", () => turn("follow", !model.get("settings").follow));
  click("freeze", () => turn("frozen", !model.get("settings").frozen));
  click("forget", () => jam.forget());
  click("panic", () => {
    if (model.get("settings").frozen) turn("frozen", false);
    jam.panic(settings());
  });
  click("mic", () => jam.useMicrophone(!["on", "asking"].includes(jam.mic)));
  click("keys", () => { root.focus({ preventScroll: true }); jam.useKeys(!jam.keys); });
  click("delay", () => jam.measureDelay());
  click("file", () => {
    if (jam.file) jam.usePicked(null);
    else if (model.get("has_sound")) jam.usePassed(true);
    else picker.click();
  });
  picker.addEventListener("change", () => { if (picker.files[0]) jam.usePicked(picker.files[0]); picker.value = ""; });
  find(".lmdm-devices").addEventListener("change", ({ target }) => jam.useMicrophone(true, target.value));
  root.addEventListener("pointerdown", () => jam.wakeUp());
  root.addEventListener("keydown", (event) => {
    if (!jam.keys || event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea, select")) return;
    if (event.key.toLowerCase() in NOTES) { event.preventDefault(); jam.press(event.key.toLowerCase()); }
  });
  root.addEventListener("keyup", (event) => jam.release(event.key.toLowerCase()));
  root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) [...KEYS].forEach((key) => jam.release(key)); });

  // -- picture
  function draw() {
    if (performance.now() - updated > 200 || !jam.moving) update();
    const fresh = findTheme();
    if (fresh !== theme) { theme = fresh; films = [...theme.ramps].reverse().map(makeFilm); }
    const height = TOP + 2 * TRACK + SPACE + FOOT, width = fitCanvas(canvas, pen, height), bottom = height - FOOT;
    const span = width < 480 ? 6 : width < 760 ? 9 : 12; // seconds in sight
    const now = jam.now(), from = Math.max(0, now - 0.8 * span), plot = width - MARGIN - 6;
    const place = (seconds) => MARGIN + ((seconds - from) / span) * plot;
    const tops = [TOP, TOP + TRACK + SPACE];
    pen.clearRect(0, 0, width, height);
    drawTimes(pen, theme, from, span, place, bottom);
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN, 0, plot, height);
    pen.clip();
    [jam.played, jam.made].forEach((picture, i) => {
      drawFilm(pen, films[i](picture), picture, from, span, place, tops[i], TRACK);
      pen.globalAlpha = 0.6; // what is still to come is veiled
      pen.fillStyle = theme.paper;
      pen.fillRect(place(now), tops[i], width, TRACK);
      pen.globalAlpha = 1;
    });
    drawBlocks(from, span, place, tops, now);
    pen.restore();
    tops.forEach((top, i) => {
      pen.fillStyle = theme.line;
      pen.fillRect(MARGIN, top + TRACK, plot, 1);
      drawHertz(pen, theme, MARGIN - 6, top, TRACK);
      write(pen, theme, i ? "the model" : "you", width - 10, top + 9, theme.soft, "right", 10);
    });
    if (jam.run || now > 0) {
      pen.fillStyle = theme.ink;
      pen.fillRect(Math.round(place(now)) - 0.75, TOP, 1.5, bottom - TOP);
    } else write(pen, theme, "press Start, then move the puck", MARGIN + plot / 2, tops[1] + TRACK / 2, theme.soft, "center", 13);
    for (const side of ["mic", "out"]) {
      const loud = Math.max(0, Math.min(1, (jam.level(side === "out") + 60) / 60));
      find(`[data-side="${side}"] i`).style.transform = `scaleX(${loud.toFixed(2)})`;
    }
    if (jam.moving || jam.mic === "on" || jam.file || jam.keys) again();
  }

  // Borders of blocks; a line leads from what was the newest of the player's sound to the block that has heard it.
  function drawBlocks(from, span, place, tops, now) {
    let before = null;
    for (const block of jam.blocks) {
      const start = block.start / RATE, seconds = block.samples / RATE;
      if (start + seconds > from && start < from + span) {
        pen.fillStyle = theme.line;
        pen.fillRect(Math.round(place(start)), tops[1], 1, TRACK);
        const factor = block.made / seconds;
        write(pen, theme, factor.toFixed(2), place(start + seconds / 2), 8, factor > 1 ? theme.slow : theme.soft, "center", 9);
        if (before && block.heard > before.heard) {
          const heard = place(block.heard / RATE), [above, below] = [tops[0] + TRACK + 2, tops[1] - 2];
          pen.strokeStyle = pen.fillStyle = theme.soft;
          pen.globalAlpha = start <= now ? 1 : 0.5;
          pen.beginPath();
          pen.moveTo(heard, above);
          pen.lineTo(place(start), below);
          pen.stroke();
          pen.fillRect(heard - 1.5, above - 1, 3, 3);
          pen.globalAlpha = 1;
        }
      }
      before = block;
    }
  }

  // -- words and numbers
  function update() {
    updated = performance.now();
    const on = jam.run !== null, block = jam.blocks.at(-1), say = (node, words) => { if (node.textContent !== words) node.textContent = words; };
    const lead = on ? Math.max(0, Math.round(1000 * (jam.received / RATE - jam.now()))) : 0;
    const factor = block ? block.made / (block.samples / RATE) : null;
    const answers = [...jam.answers].sort((a, b) => a - b), answer = answers.length ? Math.round(1000 * answers[answers.length >> 1]) : null;
    const first = jam.firstSound === null ? null : Math.round(jam.firstSound);
    const state = model.get("state");
    Object.assign(root.dataset, {
      state: jam.state, engine: state.split(":")[0], playedSeconds: (jam.read / RATE).toFixed(3), underruns: jam.underruns, blocks: jam.blocks.length,
      peak: jam.peak.toFixed(4), leadMs: lead, answerMs: answer ?? "", firstSoundMs: first ?? "", rtf: factor?.toFixed(4) ?? "", mic: jam.mic,
      file: jam.file ?? "", keys: jam.keys, micDb: jam.level(false).toFixed(1), recorded: jam.recorded.toFixed(2), saved: jam.saved.join(" "),
      heard: block?.heard ?? 0, bpm: block?.bpm.toFixed(1) ?? "", follows: block?.follows ?? "", roundTripMs: (1000 * jam.roundTrip).toFixed(1), measured: jam.measured, note: jam.note,
    });
    say(find(".lmdm-start"), on ? "Stop" : "Start");
    find(".lmdm-save").classList.toggle("lmdm-red", on && !jam.full);
    say(find(".lmdm-save span"), jam.recorded ? `Save ${Math.floor(jam.recorded / 60)}:${String(Math.floor(jam.recorded % 60)).padStart(2, "0")}` : "Save");
    find(".lmdm-save").disabled = !jam.recorded;
    say(find(".lmdm-note"), jam.note || (jam.full ? "the recording is full (30 minutes)" : !on && state === "loading" ? "the model is loading …" : ""));
    say(find(".lmdm-error"), jam.error || (state.startsWith("error") ? state.slice(7) : ""));
    say(find(".lmdm-mic-error"), jam.micError);
    find(".lmdm-mic").setAttribute("aria-pressed", jam.mic === "on");
    find(".lmdm-keys").setAttribute("aria-pressed", jam.keys);
    say(find(".lmdm-keys"), jam.midi ? `Keys, ${jam.midi}` : "Keys");
    find(".lmdm-file").setAttribute("aria-pressed", !!jam.file);
    say(find(".lmdm-file"), jam.file ?? (model.get("has_sound") ? "Recording" : "File …"));
    const devices = find(".lmdm-devices"), names = jam.devices.map(({ deviceId, label }) => `${deviceId}\n${label}`).join("\n\n");
    devices.hidden = jam.mic !== "on" || jam.devices.length < 2;
    if (devices.dataset.names !== names) {
      devices.dataset.names = names;
      devices.replaceChildren(...jam.devices.map(({ deviceId, label }, i) => new Option(label || `microphone ${i + 1}`, deviceId)));
    }
    devices.value = jam.device;
    const files = find(".lmdm-files"), list = jam.saved.join(" ");
    if (list && files.dataset.list !== list) {
      files.dataset.list = list;
      files.replaceChildren(`in ${jam.folder}: `, ...jam.saved.map((name) => {
        const link = Object.assign(document.createElement("button"), { type: "button", textContent: name, title: "download" });
        link.addEventListener("click", () => jam.fetch(name));
        return link;
      }));
    }
    const numbers = {
      answer: answer === null ? "–" : `${answer} ms`, lead: on && block ? `${lead} ms` : "–", rtf: factor === null ? "–" : factor.toFixed(2),
      steps: block ? `${block.steps}` : "–", underruns: block ? `${jam.underruns}${jam.underruns ? `, ${jam.cause}` : ""}` : "–",
      first: first === null ? "–" : `${first} ms`,
      tempo: block?.bpm ? `${Math.round(block.bpm)} bpm${block.follows ? ", yours" : ""}` : "–",
    };
    for (const [name, value] of Object.entries(numbers)) say(find(`[data-name="${name}"] b`), value);
    const mix = find(".lmdm-mix");
    if (jam.mix && mix.srcObject !== jam.mix) mix.srcObject = jam.mix; // for ipywebrtc.WidgetStream
  }

  const sizes = new ResizeObserver(() => { surface.show(); again(); });
  sizes.observe(root);
  const themes = new MutationObserver(again);
  themes.observe(document.body, { attributes: true });
  model.on("change:settings", showSettings);
  model.on("change:state", again);
  jam.views.add(again);
  root.jam = jam; // for tests and the curious
  showSettings();
  surface.show();
  again();
  return () => {
    jam.views.delete(again);
    sizes.disconnect();
    themes.disconnect();
    again.stop();
    surface.stop();
    model.off("change:settings", showSettings);
    model.off("change:state", again);
    if (jam.views.size > 0) return;
    jam.stop(); // the cell was run again or its output cleared
    jam.useMicrophone(false);
    jam.usePicked(null);
    jam.useKeys(false);
  };
}

export default {
  initialize({ model }) {
    const jam = makeJam(model);
    jams.set(model.get("jam_id"), jam);
    return jam.dispose;
  },
  render: renderJam,
};
