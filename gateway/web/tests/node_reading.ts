/** Reads {"records", "language"} from standard input, prints the lines of each event record. */

import { text } from "node:stream/consumers";

import { readEvent } from "../src/reading.ts";
import { parseJson, type Fields } from "../src/tlog/json.ts";

const { records, language } = JSON.parse(await text(process.stdin));
console.log(
  JSON.stringify(
    records.map((record: string) => readEvent(parseJson(record) as Fields, language, () => "")),
  ),
);
