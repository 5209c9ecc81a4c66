// Requests to the server: keys, errors as its sentences, streams, uploads.
import { byId, shown } from "./dom.js";
import { t } from "./strings.js";

const KEY = "memgpt_rag.key"; // of sessionStorage: gone with the tab

/** An error with a sentence for people. */
export class Failure extends Error {
  constructor(message, status = 0, code = null) {
    super(message);
    Object.assign(this, { status, code });
  }
}

let asking = null; // one dialog, however many requests are refused

function askForKey(reason) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key");
    byId("key-reason").textContent = shown(reason);
    byId("key-value").value = "";
    let given = false;
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, byId("key-value").value.trim());
      given = true;
      dialog.close();
    };
    byId("key-cancel").onclick = () => dialog.close();
    dialog.onclose = () => {
      asking = null;
      resolve(given);
    };
    dialog.showModal();
  });
  return asking;
}

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

function failure(status, text) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // a proxy's page, not the server's sentence
  }
  return new Failure(error.message ?? t("status", status), status, error.code);
}

/** Send a request; where the server wants a key, ask for one and send it again. */
async function send(path, { method = "GET", json, signal } = {}) {
  for (;;) {
    const body = json === undefined ? undefined : JSON.stringify(json);
    const about = { method, body, signal, headers: headers(body && { "content-type": "application/json" }) };
    let response;
    try {
      response = await fetch(path, { ...about, credentials: "omit", cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure(t("unreachable"));
    }
    if (response.ok) return response;
    const refused = failure(response.status, await response.text().catch(() => ""));
    if (response.status !== 401 || !(await askForKey(refused.message))) throw refused;
  }
}

/** The JSON of a response. */
export async function call(path, options) {
  return (await send(path, options)).json();
}

/** The events of a stream, as JSON; a stream that ends before its end is an error. */
export async function* stream(path, json, signal) {
  const response = await send(path, { method: "POST", json, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.replace(/^data: /, "");
        if (data === "[DONE]") return;
        const read = JSON.parse(data);
        if (read.error) throw new Failure(read.error.message, 0, read.error.code);
        yield read;
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Failure) throw error;
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new Failure(t("brokeOff"));
}

/** Upload a file; `onPart` gets the part that has arrived, 0 to 1. */
export async function upload(file, onPart) {
  for (;;) {
    const { status, text } = await new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.open("POST", "v1/files");
      for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => event.lengthComputable && onPart(event.loaded / event.total);
      request.onloadend = () => resolve({ status: request.status, text: request.responseText });
      const form = new FormData();
      form.append("purpose", "assistants");
      form.append("file", file);
      request.send(form);
    });
    if (status === 200) return JSON.parse(text);
    if (status === 0) throw new Failure(t("unreachable"));
    const refused = failure(status, text);
    if (status !== 401 || !(await askForKey(refused.message))) throw refused;
  }
}
