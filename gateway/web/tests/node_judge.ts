/**
 * Judges files as the page does, without a browser: reads {"policy", "files", "language"} in base64
 * from standard input, prints a verdict for each file.
 */

import { text } from "node:stream/consumers";

import { readPolicy } from "../src/pins.ts";
import { decodeBase64 } from "../src/tlog/encoding.ts";
import { judge } from "../src/verdict.ts";
import { wordsIn } from "../src/words.ts";

const asked = JSON.parse(await text(process.stdin));
const words = wordsIn(asked.language);
const { policy } = await readPolicy(decodeBase64(asked.policy, "policy"));
const verdicts = [];
for (const file of asked.files)
  verdicts.push(await judge(decodeBase64(file, "file"), policy, words));
console.log(JSON.stringify(verdicts));
