/** What a message costs besides its bytes: docs/model.md (16) and (17); TCP with an initial window of 10 segments. */
export interface NetworkTerms {
  /** Header and checksum of one frame, bytes. */
  readonly frameBytes: number
  /** Handling of one message by both ends together. */
  readonly messageSeconds: number
  /** A larger message waits for acknowledgements. */
  readonly windowBytes: number
  /** Additional RTTs of such a message on a warm connection. */
  readonly beyondWindowRtts: number
  /** Further RTTs of the first such message after the direction was idle for `coldAfterSeconds`. */
  readonly coldRtts: number
  readonly coldAfterSeconds: number
}

/** Terms of a network that was not measured. */
export const DEFAULT_NETWORK: NetworkTerms = {
  frameBytes: 32,
  messageSeconds: 50e-6,
  windowBytes: 14_600,
  beyondWindowRtts: 0.5,
  coldRtts: 3,
  coldAfterSeconds: 30,
}

/**
 * Seconds from the moment the last byte leaves until the receiver has the message. `cold`: the direction has carried no
 * message above the window for coldAfterSeconds.
 */
export function latencySeconds(
  terms: NetworkTerms,
  bytes: number,
  rttSeconds: number,
  cold: boolean,
): number {
  const rtts = bytes > terms.windowBytes ? 0.5 + terms.beyondWindowRtts + (cold ? terms.coldRtts : 0) : 0.5
  return rtts * rttSeconds + terms.messageSeconds
}
