/**
 * The policy this device trusts, kept in the browser's own storage.
 *
 * One at a time, and only after its reader compared the fingerprint: nothing that is opened, and no
 * site, can put one here. Who can write this browser's storage can change it; the page therefore
 * shows the fingerprint with every verdict.
 */

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

const KEY = "tanzhang.policy";

/** A policy, read, with the bytes it came in and their SHA-256 in hex. */
export interface ReadPolicy {
  readonly data: Bytes;
  readonly policy: Policy;
  readonly fingerprint: string;
}

export interface Pinned extends ReadPolicy {
  readonly sinceS: bigint;
}

/** PolicyError if the bytes are no policy. */
export async function readPolicy(data: Bytes): Promise<ReadPolicy> {
  return { data, policy: await parsePolicy(data), fingerprint: hex(await sha256(data)) };
}

/** What a policy is called: `sha256:` and hex, in groups of eight to be read aloud. */
export function showFingerprint(fingerprint: string): string {
  return `sha256:${fingerprint}`;
}

export function groupFingerprint(fingerprint: string): string[] {
  return fingerprint.match(/.{8}/g) ?? [];
}

export async function loadPinned(): Promise<Pinned | null> {
  const kept = localStorage.getItem(KEY);
  if (kept === null) return null;
  try {
    const { data, since_s: since } = JSON.parse(kept) as { data: string; since_s: number };
    return { ...(await readPolicy(decodeBase64(data, "policy"))), sinceS: BigInt(since) };
  } catch {
    return null; // whatever stands there, it is no policy anybody compared
  }
}

export function pin(read: ReadPolicy, nowMs: number): Pinned {
  const sinceS = Math.floor(nowMs / 1000);
  localStorage.setItem(KEY, JSON.stringify({ data: encodeBase64(read.data), since_s: sinceS }));
  return { ...read, sinceS: BigInt(sinceS) };
}

export function forget(): void {
  localStorage.removeItem(KEY);
}

/** A name of a policy, which may be no text at all, as people can read it. */
export function showName(name: string): string {
  return new TextDecoder().decode(fromOctets(name));
}

/** The policy's own text, for who wants to see it. */
export function showPolicy(data: Bytes): string {
  return showName(octets(data));
}
