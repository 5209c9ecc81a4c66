"""Texts of many kinds for quantization: some for calibration, others for evaluation, none for both."""

from __future__ import annotations

_CALIBRATING = [
    "The museum opens at ten and closes at six; on Mondays it stays shut, except on public holidays.",
    "Install the package, then restart the service: `systemctl restart postgresql`. Logs are in /var/log/postgresql.",
    "Patients who received 20 mg daily had a lower risk of stroke (hazard ratio 0.72, 95% CI 0.58-0.89; P = 0.003).",
    "In 1848 the town council voted, 14 to 9, to build a second bridge over the river below the mill.",
    "How do I change the password of my account if I no longer have the old e-mail address?",
    "The boundary layer separates where the pressure rises along the surface, and the lift of the wing drops.",
    "def mean(values):\n    return sum(values) / len(values)",
    "We argue that libraries which share a catalogue save a fifth of the cost of acquiring journals.",
    "她在一九九八年搬到上海，在一家小报社做了六年的编辑。",
    "该算法的时间复杂度为O(n log n)，空间复杂度为O(n)，适用于大规模数据的排序。",
    "博物馆每天上午十点开门，下午六点关门，星期一闭馆。",
    "Die Bibliothek ist samstags bis 14 Uhr geöffnet; Bücher dürfen vier Wochen behalten werden.",
    "Revenue rose 12 % to $4.3 billion in the third quarter, while operating costs fell by $210 million.",
    "Protein kinases phosphorylate serine residues; mutants lacking the C-terminal domain do not bind RNA.",
    "who wrote the song that was played at the end of the film",
    "Warning: the valve must be closed before the pump is started, otherwise hot water may leave the pipe.",
]
_JUDGING = [
    "The ferry to the island leaves at 7:40, and the last one comes back at a quarter past nine.",
    "Vaccinated animals showed no viral RNA in lung tissue five days after infection.",
    "What is the boiling point of water at an altitude of 3,000 metres?",
    "Heat transfer to a flat plate in a hypersonic stream depends on the temperature of the wall.",
    "The court held that the contract was void, because neither party had signed the second page.",
    "SELECT name, count(*) FROM visitors WHERE year >= 2020 GROUP BY name ORDER BY 2 DESC;",
    "Add the flour and the butter, knead the dough for ten minutes, and let it rest overnight.",
    "The orchestra's new conductor, born in Lima in 1971, studied the violin before she turned to composition.",
    "Retrieval systems that rank documents by the words they share with a query miss those that paraphrase it.",
    "公园里不准放风筝，狗必须拴绳，违者罚款五十元。",
    "这种药物每天服用两次，每次一片，饭后服用，孕妇禁用。",
    "如何在不丢失数据的情况下升级数据库？",
    "Le train de nuit pour Marseille part du quai numéro quatre à vingt-deux heures.",
    "The committee's report, which ran to 412 pages, blamed neither the pilots nor the manufacturer.",
    "Error 503: the upstream server did not answer within 30 seconds; try again later.",
    "Bees see ultraviolet light, but they cannot tell red from black.",
    "The second law says that the entropy of a closed system never decreases.",
    "Migrating birds find their way by the stars, by the sun, and by the earth's magnetic field.",
    "Fans waited outside the stadium until two in the morning, although the match had ended in a draw.",
    "A loan of 200,000 at 3.5 % over thirty years costs about 898 a month.",
    "Unemployment among people under 25 fell to its lowest level since the survey began.",
    "Gibt es einen Parkplatz in der Nähe des Bahnhofs?",
    "The poem's last line repeats the first, but in the past tense.",
    "Turn the knob clockwise until the green light stops blinking, then press it once.",
]


def _passages(sentences: list[str], count: int, length: int) -> list[str]:
    """Join runs of consecutive sentences, each beginning at another one."""
    return [" ".join((sentences * 2)[start % len(sentences) :][:length]) for start in range(count)]


# Batches of texts: single sentences, and texts of the length of passages.
CALIBRATION = [
    _CALIBRATING[0:8],
    _CALIBRATING[8:16],
    *(_passages(_CALIBRATING, 16, 5)[start : start + 8] for start in (0, 8)),
]
JUDGED_QUERIES = _JUDGING
JUDGED_PASSAGES = _passages(_JUDGING, 8, 5)
