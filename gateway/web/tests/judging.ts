/**
 * Every vector of tests/vectors/tlog that concerns a verifier, judged by the page's own code.
 *
 * Runs in Node and, bundled, in the browser: the verdicts must be those of kernel/tlog.
 */

import { parseCheckpoint } from "../src/tlog/checkpoint.ts";
import { decodeBase64, equal, fromOctets, utf8, type Bytes } from "../src/tlog/encoding.ts";
import { ReceiptError } from "../src/tlog/errors.ts";
import { inclusionRoot, leafHash, verifyInclusion } from "../src/tlog/merkle.ts";
import { checkpointMessage } from "../src/tlog/mldsa.ts";
import { loadVerifier, openNote, type VerifiedSignature } from "../src/tlog/note.ts";
import { Policy, parsePolicy } from "../src/tlog/policy.ts";
import { parseProof } from "../src/tlog/proof.ts";
import { verifyReceipt } from "../src/tlog/receipt.ts";
import { kindOfFile, verifyHolding, verifyLien } from "../src/tlog/states.ts";

/** The vector files by name, as they were read from disk. */
export type Vectors = Record<string, any>;

export interface Verdicts {
  readonly judged: number;
  readonly wrong: readonly string[];
}

export async function judgeVectors(vectors: Vectors): Promise<Verdicts> {
  const judge = new Judge();
  await judgeLedger(judge, vectors["carbon_ledger"]);
  await judgeNotes(judge, vectors["notes"]);
  await judgeCosignatures(judge, vectors["cosignatures"]);
  await judgeCheckpoints(judge, vectors["checkpoints"]);
  await judgeInclusion(judge, vectors["merkle"].inclusion);
  await judgePolicies(judge, vectors["policies"]);
  await judgeReceipts(judge, vectors["receipts"]);
  await judgeStates(judge, vectors["states"]);
  return { judged: judge.judged, wrong: judge.wrong };
}

class Judge {
  judged = 0;
  readonly wrong: string[] = [];

  async holds(what: string, check: () => Promise<boolean> | boolean): Promise<void> {
    this.judged += 1;
    try {
      if (!(await check())) this.wrong.push(`${what}: not as the vector says`);
    } catch (error) {
      this.wrong.push(`${what}: refused: ${error}`);
    }
  }

  /** `is` looks at the error: its name, or its part. */
  async refuses(what: string, check: () => unknown, is: (error: Error) => boolean): Promise<void> {
    this.judged += 1;
    try {
      await check();
    } catch (error) {
      if (!is(error as Error)) this.wrong.push(`${what}: refused otherwise: ${error}`);
      return;
    }
    this.wrong.push(`${what}: accepted`);
  }
}

const bytes = (text: string): Bytes => decodeBase64(text, "vector");
const named =
  (name: string) =>
  (error: Error): boolean =>
    error.name === name;

async function judgeLedger(judge: Judge, ledger: any): Promise<void> {
  const entry = utf8(ledger.entry_template.replace("%d", String(ledger.index)));
  const path = ledger.inclusion_path.map(bytes);
  const policy = await parsePolicy(
    utf8(`log ${ledger.log_vkey}\nwitness w1 ${ledger.witness_vkey}\nquorum w1\n`),
  );
  await judge.holds("the ledger's proof", async () => {
    const file = `c2sp.org/tlog-proof@v1\nindex ${ledger.index}\n${ledger.inclusion_path.join("\n")}`;
    const proof = parseProof(utf8(`${file}\n\n${ledger.checkpoint}`));
    const { checkpoint, cosignatures } = await policy.openCheckpoint(proof.checkpoint);
    const leaf = await leafHash(entry);
    await verifyInclusion(proof.index, checkpoint.size, leaf, checkpoint.root, path);
    return (
      equal(leaf, bytes(ledger.leaf_hash)) &&
      cosignatures[0]?.timestampS === BigInt(ledger.timestamp_s)
    );
  });
  await judge.holds("the ML-DSA-44 message", async () => {
    const text = ledger.checkpoint.slice(0, ledger.checkpoint.lastIndexOf("\n\n") + 1);
    const message = checkpointMessage(ledger.mldsa.name, BigInt(ledger.timestamp_s), text);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", message));
    return (
      message.length === ledger.mldsa.message_bytes &&
      digest.every((byte, n) => {
        const at = 2 * n;
        return byte === Number.parseInt(ledger.mldsa.message_sha256.slice(at, at + 2), 16);
      })
    );
  });
}

async function judgeNotes(judge: Judge, notes: any): Promise<void> {
  const open = async (one: any) =>
    openNote(bytes(one.data_base64), await Promise.all(one.vkeys.map(loadVerifier)));
  for (const one of notes.accepted) {
    await judge.holds(`note: ${one.why}`, async () => {
      const { text, verified, unknown } = await open(one);
      return (
        text === one.text && verified.length === one.verified && unknown.length === one.unknown
      );
    });
  }
  for (const one of notes.refused) {
    await judge.refuses(`note: ${one.why}`, () => open(one), named(one.error));
  }
  for (const one of notes.refused_keys) {
    await judge.refuses(`key: ${one.why}`, () => loadVerifier(one.vkey), named("FormatError"));
  }
}

async function judgeCosignatures(judge: Judge, cosignatures: any): Promise<void> {
  const open = async (one: any) => {
    const policy = new Policy();
    await policy.addLog(cosignatures.log_vkey);
    await policy.addWitness("w", one.cosigner_vkey);
    policy.setQuorum("w");
    return policy.openCheckpoint(bytes(one.note_base64));
  };
  for (const one of cosignatures.accepted) {
    await judge.holds(`cosignature: ${one.why}`, async () => {
      const { cosignatures: signed } = await open(one);
      return signed.length === 1 && Number(signed[0]?.timestampS) === one.timestamp_s;
    });
  }
  for (const one of cosignatures.refused) {
    await judge.refuses(`cosignature: ${one.why}`, () => open(one), named("NoteError"));
  }
}

async function judgeCheckpoints(judge: Judge, checkpoints: any): Promise<void> {
  for (const one of checkpoints.accepted) {
    await judge.holds(`checkpoint: ${one.why}`, () => {
      const { origin, size, extensions } = parseCheckpoint(one.text);
      return (
        origin === one.origin &&
        size === BigInt(one.text.split("\n")[1]) &&
        extensions.join("\n") === one.extensions.join("\n")
      );
    });
  }
  for (const one of checkpoints.refused) {
    const read = () => parseCheckpoint(one.text);
    await judge.refuses(`checkpoint: ${one.why}`, read, named("FormatError"));
  }
}

async function judgeInclusion(judge: Judge, inclusion: any): Promise<void> {
  const check = async (one: any): Promise<boolean> => {
    const path = one.proof.map(bytes);
    const [index, size, leaf] = [BigInt(one.index), BigInt(one.size), bytes(one.leaf)];
    await verifyInclusion(index, size, leaf, bytes(one.root), path);
    return equal(await inclusionRoot(index, size, leaf, path), bytes(one.root));
  };
  for (const one of inclusion.accepted) {
    await judge.holds(`inclusion: ${one.why}`, () => check(one));
  }
  for (const one of inclusion.refused) {
    await judge.refuses(`inclusion: ${one.why}`, () => check(one), named("ProofError"));
  }
}

async function judgePolicies(judge: Judge, policies: any): Promise<void> {
  for (const one of policies.accepted) {
    const policy = await parsePolicy(utf8(one.policy));
    const keys = new Map([...policy.witnesses.values()].map(({ key }) => [key.name, key]));
    for (const { signed, satisfied } of one.cases) {
      await judge.holds(`policy: ${one.why}: ${signed}`, () => {
        const cosignatures = signed.flatMap((n: number): VerifiedSignature[] => {
          const key = keys.get(`witness${n}.example`);
          return key === undefined ? [] : [{ ...key, timestampS: 1n }];
        });
        return policy.isSatisfiedBy(cosignatures) === satisfied;
      });
    }
  }
  for (const one of policies.refused) {
    const data = fromOctets(atob(one.policy_base64));
    await judge.refuses(`policy: ${one.why}`, () => parsePolicy(data), named("PolicyError"));
  }
}

async function judgeReceipts(judge: Judge, receipts: any): Promise<void> {
  const policy = await parsePolicy(utf8(receipts.policy));
  await judge.holds("receipt", async () => {
    const read = await verifyReceipt(bytes(receipts.receipt_base64), policy);
    return read.book === receipts.book && read.position === BigInt(receipts.position);
  });
  for (const one of receipts.refused) {
    await judge.refuses(
      `receipt: ${one.why}`,
      () => verifyReceipt(bytes(one.receipt_base64), policy),
      (error) => error instanceof ReceiptError && error.part === one.part,
    );
  }
}

async function judgeStates(judge: Judge, states: any): Promise<void> {
  const policy = await parsePolicy(utf8(states.policy));
  const file = (one: any): Bytes => bytes(one.file_base64);
  const verify = (data: Bytes) =>
    kindOfFile(data) === "lien" ? verifyLien(data, policy) : verifyHolding(data, policy);
  for (const name of ["lien", "ended"]) {
    await judge.holds(`state: ${name}`, async () => {
      const read = await verifyLien(file(states[name]), policy);
      const serials = read.serials.map((one) => [one.batch, Number(one.first), Number(one.last)]);
      return (
        JSON.stringify(serials) === JSON.stringify(states[name].serials ?? []) &&
        read.quantity === BigInt(states[name].quantity) &&
        (states[name].pledgee ?? read.pledgee) === read.pledgee
      );
    });
  }
  await judge.holds("state: holding", async () => {
    const read = await verifyHolding(file(states.holding), policy);
    return read.amount === BigInt(states.holding.amount);
  });
  for (const one of states.refused) {
    await judge.refuses(
      `state: ${one.why}`,
      () => verify(file(one)),
      (error) => error instanceof ReceiptError && error.part === one.part,
    );
  }
}
