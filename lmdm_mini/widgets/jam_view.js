// A view of a JamSession: controls, meters, words and numbers.

import { makePicture } from "./jam_picture.js";
import { counters, showDevices, showFiles, showNumbers, showWords } from "./jam_words.js";
import { paced } from "./picture.js";
import { RATE } from "./sound.js";
import { makeSurface } from "./surface.js";
import { KEYS, NOTES } from "./synth.js";

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
  ["answer", "my playing is answered after"],
  ["tempo", "tempo"],
  ["lead", "lead"],
  ["rtf", "real-time factor"],
  ["steps", "steps"],
  ["underruns", "ran out"],
  ["first", "first sound"],
];

const PAGE = `
  <div class="lmdm-head">
    <button type="button" class="lmdm-start">Start</button>
    <button type="button" class="lmdm-save"><i></i><span>Save</span></button>
    <span class="lmdm-title"></span>
    <span class="lmdm-note" role="status"></span>
  </div>
  <div class="lmdm-error" role="alert"></div>
  <div class="lmdm-warning" role="status"></div>
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

export function showJam(jam, model, el) {
  const root = Object.assign(document.createElement("div"), { className: "lmdm-player lmdm-jam" });
  root.tabIndex = -1; // it keeps the focus wherever it is clicked
  root.dataset.lmSuppressShortcuts = "true"; // keys played here are no commands to the notebook
  root.innerHTML = PAGE;
  el.append(root);
  const find = (selector) => root.querySelector(selector);
  const surface = makeSurface(model, (mix) => {
    if (jam.run) jam.set({ prompt: mix });
  });
  find(".lmdm-place").replaceWith(surface.root);
  const paint = makePicture(jam, root, find("canvas"));
  find(".lmdm-title").textContent = model.get("title");
  const picker = find('input[type="file"]');
  const again = paced(draw);
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
  for (const [name] of SLIDERS)
    find(`input[name="${name}"]`).addEventListener("input", ({ target }) => turn(name, Number(target.value)));
  for (const [name] of CHOICES)
    find(`select[name="${name}"]`).addEventListener("change", ({ target }) =>
      turn(name, Number(target.value)),
    );
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
  click("keys", () => {
    root.focus({ preventScroll: true });
    jam.useKeys(!jam.keys);
  });
  click("delay", () => jam.measureDelay());
  click("file", () => {
    if (jam.file) jam.usePicked(null);
    else if (model.get("has_sound")) jam.usePassed(true);
    else picker.click();
  });
  picker.addEventListener("change", () => {
    if (picker.files[0]) jam.usePicked(picker.files[0]);
    picker.value = "";
  });
  find(".lmdm-devices").addEventListener("change", ({ target }) => jam.useMicrophone(true, target.value));
  root.addEventListener("pointerdown", () => jam.wakeUp());
  root.addEventListener("keydown", (event) => {
    if (
      !jam.keys ||
      event.repeat ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      event.target.matches("textarea, select")
    )
      return;
    if (event.key.toLowerCase() in NOTES) {
      event.preventDefault();
      jam.press(event.key.toLowerCase());
    }
  });
  root.addEventListener("keyup", (event) => jam.release(event.key.toLowerCase()));
  root.addEventListener("focusout", (event) => {
    if (!root.contains(event.relatedTarget)) [...KEYS].forEach((key) => jam.release(key));
  });

  function draw() {
    if (performance.now() - updated > 200 || !jam.moving) update();
    paint();
    for (const side of ["mic", "out"]) {
      const loud = Math.max(0, Math.min(1, (jam.level(side === "out") + 60) / 60));
      find(`[data-side="${side}"] i`).style.transform = `scaleX(${loud.toFixed(2)})`;
    }
    if (jam.moving || jam.mic === "on" || jam.file || jam.keys) again();
  }

  // -- words and numbers
  function update() {
    updated = performance.now();
    Object.assign(root.dataset, counters(jam, model.get("state")));
    showWords(find, jam, model);
    showDevices(find(".lmdm-devices"), jam);
    showFiles(find(".lmdm-files"), jam);
    showNumbers(find, jam);
    const mix = find(".lmdm-mix");
    if (jam.mix && mix.srcObject !== jam.mix) mix.srcObject = jam.mix; // for ipywebrtc.WidgetStream
  }

  const sizes = new ResizeObserver(() => {
    surface.show();
    again();
  });
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
