// The round trip of this computer, from the speaker to the microphone: a chirp goes out, and the lag at
// which it is heard is looked for.

import { RATE } from "./sound.js";

const CHIRP_SECONDS = 0.03;
const LISTEN_SECONDS = 0.7;
const CLEAR = 8; // times the average likeness of chirp and sound, from which it is the chirp

// A tone that rises from 800 to 3,800 Hz.
export function chirpWave() {
  const n = Math.round(CHIRP_SECONDS * RATE);
  return Float32Array.from(
    { length: n },
    (_, i) =>
      0.6 * Math.sin((Math.PI * i) / n) * Math.sin((2 * Math.PI * (800 + (3000 * i) / n / 2) * i) / RATE),
  );
}

// Samples from `first` on at which `sound` holds `wave`; null if it does not.
export function findLag(wave, sound, first) {
  let best = 0,
    lag = null,
    total = 0,
    count = 0;
  for (let at = Math.max(0, first); at + wave.length < sound.length; at += 1) {
    let sum = 0;
    for (let i = 0; i < wave.length; i += 2) sum += wave[i] * sound[at + i];
    const like = Math.abs(sum);
    total += like;
    count += 1;
    if (like > best) [best, lag] = [like, at - first];
  }
  return best > CLEAR * (total / count) && best > 1e-3 ? lag : null;
}

// Plays the chirp and listens at `source`, a node of the context; further: one more node that hears it.
// Gives seconds, or null.
export async function measureRoundTrip(context, source, further) {
  const wave = chirpWave();
  const chirp = new AudioBuffer({ length: wave.length, sampleRate: RATE });
  chirp.copyToChannel(wave, 0);
  const samples = Math.round(LISTEN_SECONDS * RATE);
  const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0, processorOptions: { samples } });
  const heard = new Promise((done) => {
    tap.port.onmessage = ({ data }) => done(data);
  });
  source.connect(tap);
  const speaker = new AudioBufferSourceNode(context, { buffer: chirp }),
    when = context.currentTime + 0.15;
  speaker.connect(context.destination);
  if (further) speaker.connect(further);
  speaker.start(when);
  const { start, sound } = await heard;
  try {
    source.disconnect(tap);
  } catch {
    /* the microphone was switched off meanwhile */
  }
  const lag = findLag(wave, sound, Math.round(when * RATE) - start);
  return lag === null ? null : lag / RATE;
}
