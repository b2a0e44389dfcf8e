/** When a fault comes: with the prompt; between tokens; on what is kept (a boundary tensor, ids); while all is said again. */
export const PHASES = ['prefill', 'decode', 'checkpoint', 'resume'] as const
export type Phase = (typeof PHASES)[number]

/** On the wire between the two sides. */
export const WIRE_KINDS = [
  'reset',
  'end',
  'half-open',
  'short stall',
  'long stall',
  'one byte at a time',
  'crawl',
  'duplicate',
  'drop',
  'reorder',
  'flip in a header',
  'flip in a payload',
  'flip in a checksum',
  'truncate',
] as const
export type WireKind = (typeof WIRE_KINDS)[number]

/** On processes and what they stand on. */
export const PROCESS_KINDS = [
  'kill the cloud',
  'kill the edge',
  'stop the cloud briefly',
  'stop the cloud for long',
  'end the edge',
  'disk full',
  'memory limit',
] as const
export type ProcessKind = (typeof PROCESS_KINDS)[number]

/** A peer that means harm, to a cloud and to an edge. */
export const HOSTILE_KINDS = [
  'random bytes',
  'illegal order',
  'sizes at the caps',
  'foreign numbers',
  'thousands of opens',
  'slow greeting',
] as const
export type HostileKind = (typeof HOSTILE_KINDS)[number]

export type Kind = WireKind | ProcessKind | HostileKind

/** What came of one fault. */
export interface Outcome {
  readonly seed: number
  readonly kind: Kind
  /** Hostile peers, full disks and small budgets do not come at a phase of ours. */
  readonly phase: Phase | 'any'
  /** In words: plan, moment, what was done about it. */
  readonly detail: string
  /** Tokens that are not those of the law. */
  readonly wrongTokens: number
  /** A documented error in place of the rest; what was generated until then was right. */
  readonly documentedError: string | null
  /** The longest that a request was without a token from the fault on; null where none came after it. */
  readonly recoverySeconds: number | null
  /** Neither tokens nor an error within the bound. */
  readonly hang: boolean
  /** What was still there afterwards and should not have been; null where only a whole campaign tells. */
  readonly leaks: readonly string[] | null
  /** Anything else that should not be. */
  readonly problems: readonly string[]
}

export function isGood({ wrongTokens, hang, leaks, problems }: Outcome): boolean {
  return wrongTokens === 0 && !hang && (leaks ?? []).length === 0 && problems.length === 0
}
