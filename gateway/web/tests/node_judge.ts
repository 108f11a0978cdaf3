/**
 * Judges files as the page does, without a browser: reads {"policy", "institutions", "files",
 * "language"} from standard input, files in base64, prints a verdict for each file.
 */

import { text } from "node:stream/consumers";

import { INSTITUTIONS, POLICY } from "../src/pins.ts";
import { decodeBase64 } from "../src/tlog/encoding.ts";
import { judge } from "../src/verdict.ts";
import { wordsIn } from "../src/words.ts";

const asked = JSON.parse(await text(process.stdin));
const words = wordsIn(asked.language);
const { read: policy } = await POLICY.read(decodeBase64(asked.policy, "policy"));
const keys = decodeBase64(asked.institutions ?? btoa('{"keys":[]}'), "keys");
const { read: institutions } = await INSTITUTIONS.read(keys);
const verdicts = [];
for (const file of asked.files) {
  verdicts.push(await judge(decodeBase64(file, "file"), { policy, institutions }, words));
}
console.log(JSON.stringify(verdicts));
