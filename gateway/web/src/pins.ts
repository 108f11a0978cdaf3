/**
 * What this device trusts, kept in the browser's own storage: one policy, and institutions' keys.
 *
 * Only after its reader compared the fingerprint: nothing that is opened, and no site, can put one
 * here. Who can write this browser's storage can change it; the page therefore shows the policy's
 * fingerprint with every verdict.
 */

import { drop, keep, recall } from "./keeping.ts";
import { parseInstitutions, type Institutions } from "./institutions.ts";
import {
  decodeBase64,
  encodeBase64,
  fromOctets,
  hex,
  octets,
  type Bytes,
} from "./tlog/encoding.ts";
import { sha256 } from "./tlog/hashing.ts";
import { parsePolicy, type Policy } from "./tlog/policy.ts";

/** A file that was read, with its bytes and their SHA-256 in hex. */
export interface ReadFile<T> {
  readonly data: Bytes;
  readonly read: T;
  readonly fingerprint: string;
}

export interface Pinned<T> extends ReadFile<T> {
  readonly sinceS: bigint;
}

/** One kind of file that may be trusted, and its place in the storage. */
export class Place<T> {
  readonly #key: string;
  readonly #parse: (data: Bytes) => Promise<T>;

  constructor(key: string, parse: (data: Bytes) => Promise<T>) {
    this.#key = key;
    this.#parse = parse;
  }

  /** PolicyError or FormatError if the bytes are none. */
  async read(data: Bytes): Promise<ReadFile<T>> {
    return { data, read: await this.#parse(data), fingerprint: hex(await sha256(data)) };
  }

  async load(): Promise<Pinned<T> | null> {
    const kept = recall(this.#key);
    if (kept === null) return null;
    try {
      const { data, since_s: since } = JSON.parse(kept) as { data: string; since_s: number };
      return { ...(await this.read(decodeBase64(data, "pinned"))), sinceS: BigInt(since) };
    } catch {
      return null; // whatever stands there, it is nothing anybody compared
    }
  }

  pin(file: ReadFile<T>, nowMs: number): Pinned<T> {
    const sinceS = Math.floor(nowMs / 1000);
    const kept = { data: encodeBase64(file.data), since_s: sinceS };
    keep(this.#key, JSON.stringify(kept));
    return { ...file, sinceS: BigInt(sinceS) };
  }

  forget(): void {
    drop(this.#key);
  }
}

export const POLICY = new Place<Policy>("tanzhang.policy", parsePolicy);
export const INSTITUTIONS = new Place<Institutions>("tanzhang.institutions", parseInstitutions);

/** What a file is called where people compare two of them, as `tanzhang policy show` prints it. */
export function showFingerprint(fingerprint: string): string {
  return `sha256:${fingerprint}`;
}

/** In groups of eight, to be read aloud. */
export function groupFingerprint(fingerprint: string): string[] {
  return fingerprint.match(/.{8}/g) ?? [];
}

/** A name of a policy, which may be no text at all, as people can read it. */
export function showName(name: string): string {
  return new TextDecoder().decode(fromOctets(name));
}

/** The file's own text, for who wants to see it. */
export function showText(data: Bytes): string {
  return showName(octets(data));
}
