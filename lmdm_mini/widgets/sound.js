// Sound that comes in pieces: what all widgets know about it. Nothing here touches the page, so it can be
// tested without one.

export const RATE = 44100;
export const RING_SECONDS = 30; // Python sends at most 20 s ahead
export const FADE = 256; // samples, 6 ms: shorter clicks, longer smears an underrun
export const PATIENCE = 1000; // ms after Start in which a browser may be about to play

// Pieces in the order of their numbers, whatever order they come in; one that is still missing when ten
// later ones are here was lost.
export function inOrder(give) {
  const held = new Map();
  let next = 0;
  return (seq, piece) => {
    if (seq < next) return;
    held.set(seq, piece);
    while (held.size && (held.has(next) || held.size > 10)) {
      const found = held.get(next++);
      if (found) {
        held.delete(next - 1);
        give(found);
      }
    }
  };
}

// What is in `books.backlog` goes to the worklet, as far as its ring has room.
export function feed(node, books) {
  while (node && books.backlog.length) {
    const { samples, planes } = books.backlog[0];
    if (books.write - books.read + samples > RING_SECONDS * RATE) return;
    books.backlog.shift();
    books.write += samples;
    node.port.postMessage({ kind: "sound", samples, planes }, [planes.buffer]);
  }
}

// Seconds heard by now: the worklet's last report, and what has passed since then.
export function secondsHeard(books, running = true) {
  const since = books.moving && running ? (performance.now() - books.at) / 1000 : 0;
  return Math.min(books.read / RATE + Math.min(since, 0.2), books.write / RATE);
}

// A message's buffer as numbers; it may begin anywhere in a larger one.
export function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// Why nothing is heard although somebody pressed Start, or "": `state` is that of the browser's
// AudioContext, `waited` ms since Start.
export function whySilent(state, waited, heard) {
  if (state === "running" || state === undefined) return "";
  if (heard) return "the browser has put the sound to sleep: click here";
  if (waited < PATIENCE) return "";
  return "the browser does not play sound yet: click here; if that does not help, it finds no loudspeaker or headphones";
}
