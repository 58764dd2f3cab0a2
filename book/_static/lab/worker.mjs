// Inference, away from the page: onnxruntime in WebAssembly with one thread. Everything is loaded when it is first asked for.
import * as ort from "../vendor/onnxruntime/ort.wasm.bundle.min.mjs";

const CACHE = "pspnb-lab-1";
const RUNTIME = { url: "../vendor/onnxruntime/ort-wasm-simd-threaded.wasm.gz", bytes: 3.7e6, key: "1.30.0" };
const sessions = new Map();
let runtime = null;

/** The store of what was downloaded; null where the browser has none (a page that isn't served securely). */
async function store() {
  try {
    return self.caches ? await caches.open(CACHE) : null;
  } catch {
    return null; // private windows of some browsers
  }
}

/** All bytes of a file, from the store or the network, with progress. */
async function fetched(what, url, key, expected) {
  const address = new URL(url, import.meta.url);
  address.searchParams.set("v", key);
  const kept = await store();
  const known = await kept?.match(address.href);
  if (known) return new Uint8Array(await known.arrayBuffer());
  let bytes;
  try {
    const answer = await fetch(address.href);
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    bytes = await collected(answer, what, expected);
  } catch (error) {
    throw new Error(`download:${what} (${error.message})`);
  }
  try {
    for (const old of (await kept?.keys()) ?? []) {
      if (new URL(old.url).pathname === address.pathname) await kept.delete(old);
    }
    await kept?.put(address.href, new Response(bytes));
  } catch {
    // No room: it is downloaded again next time.
  }
  return bytes;
}

async function collected(answer, what, expected) {
  const parts = [];
  let loaded = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    loaded += value.length;
    self.postMessage({ progress: { what, loaded, total: Math.max(expected, loaded) } });
  }
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) bytes.set(part, (at += part.length) - part.length);
  return bytes;
}

async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes; // the server has unpacked it
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function started() {
  const bytes = await fetched("the runtime", RUNTIME.url, RUNTIME.key, RUNTIME.bytes);
  ort.env.wasm.numThreads = 1; // needs no special headers of the host
  ort.env.wasm.wasmBinary = (await unpacked(bytes)).buffer;
}

async function session(model) {
  try {
    await (runtime ??= started());
  } catch (error) {
    runtime = null; // asked again, it is tried again
    throw error;
  }
  const bytes = await fetched(model.title, model.url, model.sha256.slice(0, 16), model.bytes);
  if (bytes.length !== model.bytes) {
    await self.caches?.delete(CACHE);
    throw new Error(`download:${model.title} (not all of it came)`);
  }
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
}

function opened(model) {
  if (!sessions.has(model.url)) {
    const opening = session(model);
    sessions.set(model.url, opening);
    opening.catch(() => sessions.delete(model.url));
  }
  return sessions.get(model.url);
}

let line = Promise.resolve(); // one run at a time: the runtime has one thread

self.onmessage = ({ data }) => {
  line = line.then(async () => {
    const { id, model, batch, input } = data;
    try {
      const network = await opened(model);
      if (!input) return self.postMessage({ id, output: null });
      const begun = performance.now();
      const tensor = new ort.Tensor("float32", input, [batch, ...model.input.shape]);
      const result = await network.run({ [model.input.name]: tensor });
      const output = new Float32Array(result[model.output.name].data);
      self.postMessage({ id, output, milliseconds: performance.now() - begun }, [output.buffer]);
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
