// The page: which view is shown, of which memory, in which language.
import * as ask from "./ask.js";
import { call } from "./api.js";
import * as compare from "./compare.js";
import * as documents from "./documents.js";
import { byId, el, fault, shown } from "./dom.js";
import * as memory from "./memory.js";
import * as search from "./search.js";
import { language, switchLanguage, t } from "./strings.js";

const VIEWS = { ask, compare, search, documents, memory };
const CHOICE = "memgpt_rag.memory";
let left = new AbortController();

const app = {
  memories: [],
  settings: {},
  current: null, // id of the memory
  leaving: left.signal, // aborted when another view is shown

  get name() {
    const found = app.memories.find(({ id }) => id === app.current);
    return shown(found?.name || app.current);
  },

  /** Load the list of memories, in the order of the server: the first one answers where none is chosen. */
  async load() {
    const [{ data }, models] = await Promise.all(["v1/vector_stores?limit=1000", "v1/models"].map((path) => call(path)));
    const order = models.data.map(({ id }) => id);
    data.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
    app.memories = data;
    const wanted = app.current ?? sessionStorage.getItem(CHOICE);
    app.current = data.some(({ id }) => id === wanted) ? wanted : data[0]?.id ?? null;
    byId("memory-name").replaceChildren(...data.map(({ id, name }) => el("option", { value: id }, shown(name || id))));
    byId("memory-name").value = app.current ?? "";
  },

  choose(id) {
    app.current = id;
    sessionStorage.setItem(CHOICE, id);
    byId("memory-name").value = id;
    app.show();
  },

  /** Show the view that the address names. */
  show() {
    left.abort();
    left = new AbortController();
    app.leaving = left.signal;
    const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "ask";
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${t(name)} · memgpt_rag`;
    const main = byId("content");
    if (!app.current && name !== "documents") {
      main.replaceChildren(el("div", { class: "page" }, el("h1", {}, t(name)), el("p", { class: "lead" }, t("noMemory"))));
    } else VIEWS[name].show(main, app);
  },
};

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  byId("language").textContent = t("other");
  byId("language").setAttribute("aria-label", t("otherLabel"));
}

async function start() {
  translate();
  byId("language").onclick = () => {
    switchLanguage();
    translate();
    app.show();
  };
  byId("memory-name").onchange = (event) => app.choose(event.target.value);
  document.querySelector(".skip").onclick = (event) => {
    event.preventDefault();
    byId("content").focus();
  };
  try {
    app.settings = await call("page/settings.json");
    await app.load();
    addEventListener("hashchange", app.show);
    app.show();
  } catch (error) {
    byId("content").replaceChildren(el("div", { class: "page" }, el("h1", {}, "memgpt_rag"), fault(error)));
  }
}

start();
