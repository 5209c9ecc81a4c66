// What the page says, in English and in Chinese.
const ENGLISH = {
  skip: "Skip to content", views: "Views", ask: "Ask", compare: "Compare", search: "Search", documents: "Documents",
  memory: "Memory", other: "中文", otherLabel: "中文：切换到中文", cancel: "Cancel", remove: "Remove",
  keyTitle: "Access key", key: "Key", keySend: "Continue", keyNote: "Kept in this tab only, and gone when you close it.",
  unreachable: "The server does not answer; see whether it runs.", status: (code) => `The server answers with status ${code}.`,
  brokeOff: "The answer broke off: the connection ended before the answer did.", stopped: "Stopped.",
  noMemory: "There is no memory here yet. Upload documents to make one.",
  // Asking
  question: "Question", questionHint: "Ask what the memory holds", stop: "Stop", answering: "Answering…",
  intro: "Ask, and see what the answer rests on.",
  introMore: "Point at a word of an answer, or press Tab and the arrow keys: the words that it looked at light up in the passages.",
  options: "Options", entries: "Passages per question", searchBy: "Search", byServer: "as the server has it",
  dense: "by meaning", bm25: "by words", hybrid: "by both", filter: "Only where", filterHint: "source == \"park.md\"",
  abstain: "Answer only what the memory supports", answer: "Answer",
  answerHint: "Arrow keys go from word to word and show what each one looked at.",
  looked: (word, places) => `“${word}” looked at ${places}.`, lookedAt: (words, number, share) => `${words} (passage ${number}, ${share})`,
  lookedNowhere: (word) => `“${word}” looked at no single place.`,
  passages: "Passages", passage: (number) => `Passage ${number}`, share: (percent) => `${percent} of the attention`,
  noShare: "attention is not known", rests: (number) => `This part rests on passage ${number}.`,
  explains: "Explains", explainsNothing: "Explains no part of the answer more than others do",
  quote: "From the passage", wrote: "The model wrote",
  supported: "Supported by the memory", unsupported: "Not in memory: the passages do not support this answer",
  abstained: "Not in memory", nothingFound: "Nothing was found in the memory; this is the model's own answer",
  closedBook: "Without the memory: the model's own answer", unjudged: "Whether the passages support this is not known",
  confidence: (percent) => `confidence ${percent}`, emptyAnswer: "The model wrote nothing.",
  facts: (name, version) => `${name}, version ${version}`, firstAfter: (s) => `first word after ${s}`, wholeAfter: (s) => `whole after ${s}`,
  tokens: (prompt, memory) => memory ? `${prompt} tokens read, and ${memory} in memory` : `${prompt} tokens read`,
  conversations: "Conversations", newConversation: "New conversation", deleteConversation: (title) => `Delete “${title}”`,
  sureConversation: "Delete this conversation from this browser?", delete: "Delete",
  kept: "Kept in this browser only. Earlier turns are sent with a question.",
  // Comparing
  compareTitle: "Three ways to answer", compareIntro: "The same question with the passages in attention, in the prompt, and without any. One after the other, so that none slows another.",
  compareNote: "Times are those of this page, with the way there and back. A passage that is asked for the first time takes longer.",
  run: "Compare", memoryMode: "Memory", memoryModeMore: "passages in attention", promptMode: "Prompt", promptModeMore: "passages in the prompt",
  closedMode: "Closed book", closedModeMore: "no passages", firstToken: "First token", whole: "Whole answer", waits: "Waits for its turn…",
  // Searching
  searchTitle: "Search the memory", query: "Query", results: "Results", found: (n) => n === 1 ? "1 passage" : `${n} passages`, score: "score",
  condition: "Condition", column: "Column", comparison: "Comparison", value: "Value", addCondition: "Add a condition", nothing: "Nothing was found.",
  // Documents
  documentsTitle: "Documents", uploadTo: (name) => `Upload into “${name}”`, chooseFiles: "Choose files, or drop them here",
  newStore: "New memory", newStoreName: "Name", create: "Create", noUploads: "This server takes no files; start it with --files DIR.",
  uploading: (percent) => `uploading, ${percent}`, indexing: "being indexed…", completed: "indexed", failed: "failed", cancelled: "cancelled", in_progress: "being indexed…",
  tooLarge: (size) => `The file is larger than ${size}.`, file: "File", size: "Size", state: "State", noFiles: "No files were uploaded into this memory.",
  filesOf: (name) => `Files in “${name}”`, sureFile: (name) => `Remove “${name}” from the memory?`, uploaded: (name) => `${name} is indexed. You can ask about it.`,
  // Memory
  memoryTitle: "Memory", version: "Version", entriesCount: "Passages", bytes: "Bytes on disk", deleted: "Deleted rows", segments: "Segments",
  encoder: "Embedding model", languageModel: "Language model", lexical: "Index of words", states: "Stored states", columns: "Columns", yes: "yes", no: "no", none: "none",
  versions: "Versions", job: "Job", restore: "Restore", present: "present", sureVersion: (n) => `Make version ${n} the present one again?`, restored: (n) => `Restored, as version ${n}.`,
};

const CHINESE = {
  skip: "跳到正文", views: "页面", ask: "提问", compare: "对比", search: "搜索", documents: "文档",
  memory: "记忆", other: "English", otherLabel: "English: switch to English", cancel: "取消", remove: "移除",
  keyTitle: "访问密钥", key: "密钥", keySend: "继续", keyNote: "只保存在此标签页中，关闭后即消失。",
  unreachable: "服务器没有回应；请确认它正在运行。", status: (code) => `服务器返回状态 ${code}。`,
  brokeOff: "回答中断：连接在回答结束之前断开。", stopped: "已停止。",
  noMemory: "这里还没有记忆。请先上传文档。",
  question: "问题", questionHint: "向记忆提问", stop: "停止", answering: "正在回答…",
  intro: "提问，并看清回答的依据。",
  introMore: "把指针移到回答的词上，或按 Tab 键和方向键：它所注意的词会在段落中亮起。",
  options: "选项", entries: "每个问题的段落数", searchBy: "搜索方式", byServer: "按服务器设置",
  dense: "按语义", bm25: "按词语", hybrid: "两者结合", filter: "筛选条件", filterHint: "source == \"park.md\"",
  abstain: "只回答记忆支持的内容", answer: "回答",
  answerHint: "用方向键逐词移动，查看每个词所注意的内容。",
  looked: (word, places) => `“${word}”注意了${places}。`, lookedAt: (words, number, share) => `${words}（段落 ${number}，${share}）`,
  lookedNowhere: (word) => `“${word}”没有特别注意某处。`,
  passages: "段落", passage: (number) => `段落 ${number}`, share: (percent) => `占注意力的 ${percent}`,
  noShare: "注意力未知", rests: (number) => `这一部分依据段落 ${number}。`,
  explains: "解释了", explainsNothing: "没有哪一部分以它为主要依据",
  quote: "段落原文", wrote: "模型写道",
  supported: "有记忆支持", unsupported: "记忆中没有：段落不支持这个回答",
  abstained: "记忆中没有", nothingFound: "记忆中什么也没找到；这是模型自己的回答",
  closedBook: "未使用记忆：模型自己的回答", unjudged: "不知道段落是否支持这个回答",
  confidence: (percent) => `置信度 ${percent}`, emptyAnswer: "模型什么也没写。",
  facts: (name, version) => `${name}，版本 ${version}`, firstAfter: (s) => `${s} 后出现首词`, wholeAfter: (s) => `共 ${s}`,
  tokens: (prompt, memory) => memory ? `读入 ${prompt} 个词元，另有 ${memory} 个在记忆中` : `读入 ${prompt} 个词元`,
  conversations: "对话", newConversation: "新对话", deleteConversation: (title) => `删除“${title}”`,
  sureConversation: "从此浏览器中删除这段对话？", delete: "删除",
  kept: "只保存在此浏览器中。提问时会一并发送前面的对话。",
  compareTitle: "三种回答方式", compareIntro: "同一个问题：段落放入注意力、放入提示词，或完全不用。依次进行，互不拖慢。",
  compareNote: "时间由本页测得，包括往返。第一次被问到的段落需要更长时间。",
  run: "对比", memoryMode: "记忆", memoryModeMore: "段落在注意力中", promptMode: "提示词", promptModeMore: "段落在提示词中",
  closedMode: "闭卷", closedModeMore: "没有段落", firstToken: "首个词元", whole: "完整回答", waits: "等待中…",
  searchTitle: "搜索记忆", query: "查询", results: "结果", found: (n) => `${n} 个段落`, score: "得分",
  condition: "条件", column: "列", comparison: "比较", value: "值", addCondition: "添加条件", nothing: "什么也没找到。",
  documentsTitle: "文档", uploadTo: (name) => `上传到“${name}”`, chooseFiles: "选择文件，或拖放到这里",
  newStore: "新记忆", newStoreName: "名称", create: "创建", noUploads: "此服务器不接收文件；请用 --files DIR 启动。",
  uploading: (percent) => `正在上传，${percent}`, indexing: "正在建立索引…", completed: "已建立索引", failed: "失败", cancelled: "已取消", in_progress: "正在建立索引…",
  tooLarge: (size) => `文件大于 ${size}。`, file: "文件", size: "大小", state: "状态", noFiles: "还没有文件上传到这个记忆。",
  filesOf: (name) => `“${name}”中的文件`, sureFile: (name) => `从记忆中移除“${name}”？`, uploaded: (name) => `${name} 已建立索引，可以提问了。`,
  memoryTitle: "记忆", version: "版本", entriesCount: "段落数", bytes: "磁盘字节数", deleted: "已删除的行", segments: "分段",
  encoder: "嵌入模型", languageModel: "语言模型", lexical: "词语索引", states: "已存状态", columns: "列", yes: "有", no: "无", none: "无",
  versions: "版本", job: "任务", restore: "恢复", present: "当前", sureVersion: (n) => `把版本 ${n} 恢复为当前版本？`, restored: (n) => `已恢复，成为版本 ${n}。`,
};

const TABLES = { en: ENGLISH, zh: CHINESE };
const CHOICE = "memgpt_rag.language";
export let language = localStorage.getItem(CHOICE);
if (!(language in TABLES)) language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";

/** A string of the page, with its values filled in. */
export function t(name, ...values) {
  const found = TABLES[language][name];
  return typeof found === "function" ? found(...values) : found;
}

/** Turn to the other language. */
export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem(CHOICE, language);
}

const number = (value, options) => new Intl.NumberFormat(language, options).format(value);
export const percent = (part) => number(part, { style: "percent" });
export const count = (value) => number(value);
export const seconds = (value) => `${number(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 })} s`;
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(value, 1)) / 3));
  return `${number(value / 1000 ** power, { maximumFractionDigits: power ? 1 : 0 })} ${units[power]}`;
}
