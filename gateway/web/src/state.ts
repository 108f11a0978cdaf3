/** The page's state, and what its reader can do: what the views are made from. */

import type { Institutions } from "./institutions.ts";
import type { Pinned, ReadFile } from "./pins.ts";
import type { Policy } from "./tlog/policy.ts";
import type { Verdict } from "./verdict.ts";
import type { Language } from "./words.ts";

/** A policy somebody looks at before trusting it; `site` suggested it, unless it is empty. */
export interface PolicyCandidate {
  readonly kind: "policy";
  readonly file: ReadFile<Policy>;
  readonly site: string;
}

export interface InstitutionsCandidate {
  readonly kind: "institutions";
  readonly file: ReadFile<Institutions>;
}

export type Candidate = PolicyCandidate | InstitutionsCandidate;

export interface State {
  readonly language: Language;
  readonly pinned: Pinned<Policy> | null;
  readonly institutions: Pinned<Institutions> | null;
  readonly candidate: Candidate | null;
  readonly pasting: boolean;
  readonly trustProblem: string;
  readonly fileName: string | null;
  readonly hasFile: boolean;
  readonly verdict: Verdict | null;
  readonly isKept: boolean;
  readonly build: string;
}

export interface Acts {
  readonly speak: (language: Language) => void;
  readonly open: (file: File) => void;
  readonly readPolicy: (file: File) => void;
  readonly paste: (isPasting: boolean) => void;
  readonly readPasted: (text: string) => void;
  readonly suggest: () => void;
  readonly trust: () => void;
  readonly cancel: () => void;
  readonly forget: () => void;
  readonly readInstitutions: (file: File) => void;
  readonly forgetInstitutions: () => void;
}
