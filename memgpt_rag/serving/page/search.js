// The view "Search": passages with scores, narrowed by conditions.
import { call } from "./api.js";
import { el, fault, field, outward, say, select, shown } from "./dom.js";
import { count, t } from "./strings.js";

const COMPARISONS = [["eq", "="], ["ne", "≠"], ["gt", ">"], ["gte", "≥"], ["lt", "<"], ["lte", "≤"]];
const OWN = ["source", "title", "id"]; // columns of every memory

export async function show(main, app) {
  const query = el("input", { id: "query", type: "search", "aria-label": t("query"), placeholder: t("query"), dir: "auto", required: true });
  const kind = select([["", t("byServer")], ["dense", t("dense")], ["bm25", t("bm25")], ["hybrid", t("hybrid")]]);
  const most = el("input", { type: "number", min: "1", max: "100", inputmode: "numeric", value: "10" });
  const columns = el("datalist", { id: "columns" }, OWN.map((value) => el("option", { value })));
  const conditions = el("div", { class: "conditions" });
  const results = el("section", { "aria-label": t("results") });
  const add = () => conditions.append(conditionView());
  const form = el("form", {}, el("div", { class: "line" }, query, el("button", { type: "submit", class: "main" }, t("search"))),
    el("div", { class: "fields" }, field(t("searchBy"), kind), field(t("results"), most)), columns, conditions,
    el("p", {}, el("button", { type: "button", onclick: add }, t("addCondition"))));
  main.replaceChildren(el("div", { class: "page" }, el("h1", {}, t("searchTitle")), form, results));
  form.onsubmit = async (event) => {
    event.preventDefault();
    const filters = [...conditions.children].map(readCondition).filter(Boolean);
    const json = { query: query.value, max_num_results: Number(most.value) };
    if (kind.value) json.search = kind.value;
    if (filters.length) json.filters = filters.length === 1 ? filters[0] : { type: "and", filters };
    try {
      const { data } = await call(`v1/vector_stores/${encodeURIComponent(app.current)}/search`, { method: "POST", json, signal: app.leaving });
      results.replaceChildren(el("h2", {}, data.length ? t("found", count(data.length)) : t("nothing")), el("ol", { class: "results" }, data.map(resultView)));
      say(data.length ? t("found", data.length) : t("nothing"));
    } catch (error) {
      if (error.name !== "AbortError") results.replaceChildren(fault(error));
    }
  };
  const info = await call(`v1/memory/info?memory=${encodeURIComponent(app.current)}`, { signal: app.leaving }).catch(() => null);
  columns.append(...Object.keys(info?.metadata ?? {}).map((value) => el("option", { value })));
}

function conditionView() {
  const row = el("div", { class: "line", role: "group", "aria-label": t("condition") },
    el("input", { list: "columns", "aria-label": t("column"), placeholder: t("column"), spellcheck: "false" }),
    select(COMPARISONS, { "aria-label": t("comparison") }), el("input", { "aria-label": t("value"), placeholder: t("value") }),
    el("button", { type: "button", "aria-label": t("remove"), onclick: () => row.remove() }, "×"));
  return row;
}

function readCondition(row) {
  const [key, type, given] = [...row.children].slice(0, 3).map((input) => input.value.trim());
  if (!key) return null;
  const number = given !== "" && Number.isFinite(Number(given));
  const value = number ? Number(given) : given === "true" ? true : given === "false" ? false : given;
  return { type, key, value };
}

function resultView({ score, content, entry, attributes }) {
  const known = Object.entries(attributes).map(([name, value]) => `${name} = ${value}`);
  return el("li", { class: "passage" }, el("div", { class: "source" }, el("span", { class: "title" },
    outward(entry.url, shown(entry.title || entry.place)), el("small", {}, shown([entry.place, ...known].join(" · ")))),
    el("span", { class: "measure" }, `${t("score")} ${score.toFixed(3)}`)),
    content.map(({ text }) => el("p", { class: "text", dir: "auto" }, shown(text))));
}
