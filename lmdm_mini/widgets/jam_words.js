// The words and numbers in a view of a JamSession.

import { figures } from "./jam_books.js";
import { RATE } from "./sound.js";

function say(node, words) {
  if (node.textContent !== words) node.textContent = words; // only what changes is laid out anew
}

// What a widget writes into its own element, for tests and the curious. engine: the state that Python gives.
export function counters(jam, engine) {
  const { lead, factor, answer, first } = figures(jam, jam.now());
  const block = jam.blocks.at(-1);
  return {
    state: jam.state,
    engine: engine.split(":")[0],
    playedSeconds: (jam.read / RATE).toFixed(3),
    underruns: jam.underruns,
    blocks: jam.blocks.length,
    peak: jam.peak.toFixed(4),
    leadMs: lead,
    answerMs: answer ?? "",
    firstSoundMs: first ?? "",
    rtf: factor?.toFixed(4) ?? "",
    mic: jam.mic,
    file: jam.file ?? "",
    keys: jam.keys,
    micDb: jam.level(false).toFixed(1),
    recorded: jam.recorded.toFixed(2),
    saved: jam.saved.join(" "),
    heard: block?.heard ?? 0,
    bpm: block?.bpm.toFixed(1) ?? "",
    follows: block?.follows ?? "",
    roundTripMs: (1000 * jam.roundTrip).toFixed(1),
    measured: jam.measured,
    note: jam.note,
    asleep: jam.asleep,
  };
}

export function showWords(find, jam, model) {
  const on = jam.run !== null,
    state = model.get("state");
  const minutes = Math.floor(jam.recorded / 60),
    seconds = String(Math.floor(jam.recorded % 60)).padStart(2, "0");
  say(find(".lmdm-start"), on ? "Stop" : "Start");
  find(".lmdm-save").classList.toggle("lmdm-red", on && !jam.ended);
  find(".lmdm-save").disabled = !jam.recorded;
  say(find(".lmdm-save span"), jam.recorded ? `Save ${minutes}:${seconds}` : "Save");
  say(find(".lmdm-note"), jam.note || (!on && state === "loading" ? "the model is loading …" : ""));
  say(find(".lmdm-error"), jam.error || (state.startsWith("error") ? state.slice(7) : ""));
  say(find(".lmdm-warning"), jam.ended);
  say(find(".lmdm-mic-error"), jam.micError);
  find(".lmdm-mic").setAttribute("aria-pressed", jam.mic === "on");
  find(".lmdm-keys").setAttribute("aria-pressed", jam.keys);
  say(find(".lmdm-keys"), jam.midi ? `Keys, ${jam.midi}` : "Keys");
  find(".lmdm-file").setAttribute("aria-pressed", Boolean(jam.file));
  say(find(".lmdm-file"), jam.file ?? (model.get("has_sound") ? "Recording" : "File …"));
}

// The menu of microphones, if there are several.
export function showDevices(menu, jam) {
  const names = jam.devices.map(({ deviceId, label }) => `${deviceId}\n${label}`).join("\n\n");
  menu.hidden = jam.mic !== "on" || jam.devices.length < 2;
  if (menu.dataset.names !== names) {
    menu.dataset.names = names;
    menu.replaceChildren(
      ...jam.devices.map(({ deviceId, label }, i) => new Option(label || `microphone ${i + 1}`, deviceId)),
    );
  }
  menu.value = jam.device;
}

// The files that were saved last: a click downloads one.
export function showFiles(place, jam) {
  const list = jam.saved.join(" ");
  if (!list || place.dataset.list === list) return;
  place.dataset.list = list;
  const links = jam.saved.map((name) => {
    const link = document.createElement("button");
    Object.assign(link, { type: "button", textContent: name, title: "download" });
    link.addEventListener("click", () => jam.fetch(name));
    return link;
  });
  place.replaceChildren(`in ${jam.folder}: `, ...links);
}

export function showNumbers(find, jam) {
  const { lead, factor, answer, first } = figures(jam, jam.now());
  const block = jam.blocks.at(-1),
    missing = "–";
  const ranOut = jam.underruns ? `${jam.underruns}, ${jam.cause}` : "0";
  const tempo = block?.bpm ? `${Math.round(block.bpm)} bpm${block.follows ? ", yours" : ""}` : missing;
  const numbers = {
    answer: answer === null ? missing : `${answer} ms`,
    lead: jam.run !== null && block ? `${lead} ms` : missing,
    rtf: factor === null ? missing : factor.toFixed(2),
    steps: block ? `${block.steps}` : missing,
    underruns: block ? ranOut : missing,
    first: first === null ? missing : `${first} ms`,
    tempo,
  };
  for (const [name, value] of Object.entries(numbers)) say(find(`[data-name="${name}"] b`), value);
}
