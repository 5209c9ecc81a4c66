// Elements and text. Text of others only ever becomes a text node.

/** Make an element: attributes, listeners ("onclick"), and children (elements, text, or nothing). */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export const byId = (id) => document.getElementById(id);

// Characters that nobody sees: controls, marks of direction, private use. Joiners of emoji and scripts stay.
const UNSEEN = /[^\P{C}\n\t\u200c\u200d]/gu;

/** Text of a document or a model, with characters that nobody sees written out: \x1b, \u202e. */
export function shown(text) {
  return String(text ?? "").replace(UNSEEN, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`);
}

/** Cut a text by code points, as the server counts; JavaScript counts UTF-16. */
export function cutter(text) {
  const points = Array.from(text);
  const cut = (start, end) => points.slice(start, end).join("");
  return Object.assign(cut, { points: points.length });
}

/** An address that may become a link: http and https only. */
export function safeLink(address) {
  try {
    const url = new URL(address, document.baseURI);
    return ["http:", "https:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link that opens in another tab, or plain text where the address is none. */
export function outward(address, text) {
  const href = safeLink(address);
  return href ? el("a", { href, target: "_blank", rel: "noopener noreferrer" }, text) : el("span", {}, text);
}

/** A field with its label, side by side. */
export function field(label, input) {
  return el("label", { class: "field" }, el("span", {}, label), input);
}

/** A select with [value, text] pairs. */
export function select(pairs, attributes = {}) {
  return el("select", attributes, pairs.map(([value, text]) => el("option", { value }, text)));
}

export const fault = (error) => el("p", { class: "fault", role: "alert" }, shown(error.message ?? error));

/** Say something to people who listen. */
export function say(text) {
  byId("live").textContent = shown(text);
}

/** Ask before something is done; resolves to whether it is to be done. */
export function sure(question, yes) {
  const dialog = byId("sure");
  byId("sure-title").textContent = question;
  byId("sure-yes").textContent = yes;
  return new Promise((resolve) => {
    byId("sure-yes").onclick = () => dialog.close("yes");
    byId("sure-no").onclick = () => dialog.close("");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.returnValue = "";
    dialog.showModal();
  });
}
