// The view "Compare": one question answered from memory, from the prompt, and without either.
import { Answer, verdictView } from "./answer.js";
import { ask } from "./chat.js";
import { el, fault, say, shown } from "./dom.js";
import { count, seconds, t } from "./strings.js";

const MODES = ["memory", "prompt", "closed_book"];
let last = ""; // question

export function show(main, app) {
  const names = { memory: ["memoryMode", "memoryModeMore"], prompt: ["promptMode", "promptModeMore"], closed_book: ["closedMode", "closedModeMore"] };
  const question = el("input", { id: "question", placeholder: t("questionHint"), "aria-label": t("question"), dir: "auto", required: true });
  question.value = last;
  const button = el("button", { type: "submit", class: "main" }, t("run"));
  const form = el("form", { class: "line" }, question, button);
  const columns = MODES.map((mode) => {
    const body = el("div", {});
    const [name, more] = names[mode].map((one) => t(one));
    return { mode, name, body, element: el("section", { class: "column", "aria-label": name }, el("h2", {}, name, el("small", {}, more)), body) };
  });
  main.replaceChildren(el("div", { class: "page" }, el("h1", {}, t("compareTitle")), el("p", { class: "lead" }, t("compareIntro")), form,
    el("div", { class: "columns" }, columns.map(({ element }) => element)), el("p", { class: "note" }, t("compareNote"))));
  form.onsubmit = async (event) => {
    event.preventDefault();
    last = question.value.trim();
    if (!last || button.disabled) return;
    button.disabled = true;
    for (const { body } of columns) body.replaceChildren(el("p", { class: "note" }, t("waits")));
    const done = [];
    for (const column of columns) {
      const answer = await run(column, app);
      if (answer) done.push([column, answer]);
      if (app.leaving.aborted) return;
    }
    const slowest = Math.max(...done.map(([, answer]) => answer.whole));
    for (const [{ body }, answer] of done) body.append(timesView(answer, slowest));
    button.disabled = false;
    say(done.map(([{ name }, answer]) => `${name}: ${answer.text} ${t("wholeAfter", seconds(answer.whole))}.`).join(" "));
  };
}

async function run({ mode, body }, app) {
  const text = el("p", { class: "answer", dir: "auto" });
  body.replaceChildren(text);
  const wanted = { model: app.current, messages: [{ role: "user", content: last }], memory: { mode } };
  try {
    const answer = await ask(wanted, app.leaving, (so_far) => (text.textContent = shown(so_far)));
    const view = answer.text ? new Answer(answer.text, { ...answer.memory, entries: [] }).element : el("p", { class: "note" }, t("emptyAnswer"));
    body.replaceChildren(view, verdictView(answer.memory));
    return answer;
  } catch (error) {
    if (error.name !== "AbortError") body.append(fault(error));
    return null;
  }
}

function timesView({ first, whole, usage }, slowest) {
  const cached = usage.prompt_tokens_details.cached_tokens;
  const row = (name, value) => {
    const bar = el("span", { class: "bar", "aria-hidden": true });
    bar.style.setProperty("--part", value / slowest);
    return [el("dt", {}, name), el("dd", {}, bar, seconds(value))];
  };
  return el("div", {}, el("dl", { class: "times" }, row(t("firstToken"), first), row(t("whole"), whole)),
    el("p", { class: "note" }, t("tokens", count(usage.prompt_tokens - cached), cached && count(cached))));
}
