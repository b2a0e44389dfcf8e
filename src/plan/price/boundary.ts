import type { ModelSpec } from '../../model/spec.ts'
import { rowElements, type SendStep } from '../lower.ts'
import type { NetworkTerms } from './network.ts'
import { latencySeconds } from './network.ts'

/** The state of a link that does not change, as the oracle assumes it. */
export interface LinkState {
  readonly upBitsPerSecond: number
  readonly downBitsPerSecond: number
  readonly rttSeconds: number
}

/** Bytes of a token id on the wire, before framing. */
const TOKEN_ID_BYTES = 4

/** Bytes of a boundary tensor [tokens, elementsPerToken] as it is encoded. Below 16 bits every token has a 4-byte scale. */
export function tensorBytes(tokens: number, elementsPerToken: number, bits: number): number {
  return Math.ceil((tokens * elementsPerToken * bits) / 8) + (bits < 16 ? 4 * tokens : 0)
}

/** Bytes on the wire of a boundary tensor, including framing. */
export function boundaryBytes(
  terms: NetworkTerms,
  tokens: number,
  elementsPerToken: number,
  bits: number,
): number {
  return tensorBytes(tokens, elementsPerToken, bits) + terms.frameBytes
}

/** Bytes on the wire of `tokens` token ids. */
export function tokenIdBytes(terms: NetworkTerms, tokens: number): number {
  return TOKEN_ID_BYTES * tokens + terms.frameBytes
}

/** Bytes that the message of a step carries in a pass of `tokens` tokens, without framing. */
export function payloadBytes(model: ModelSpec, { carries, lastRow, bits }: SendStep, tokens: number): number {
  if (carries === 'token') return TOKEN_ID_BYTES
  if (bits === null) return TOKEN_ID_BYTES * tokens
  return tensorBytes(lastRow ? 1 : tokens, rowElements(model, carries), bits)
}

/** Bytes on the wire of the message of a step in a pass of `tokens` tokens. */
export function messageBytes(terms: NetworkTerms, model: ModelSpec, step: SendStep, tokens: number): number {
  return payloadBytes(model, step, tokens) + terms.frameBytes
}

/** Seconds for which a message occupies its direction. */
export function serialisationSeconds(bitsPerSecond: number, bytes: number): number {
  return (8 * bytes) / bitsPerSecond
}

/** Latency of a message after its last byte left, on a warm connection. */
export function warmLatencySeconds(terms: NetworkTerms, link: LinkState, bytes: number): number {
  return latencySeconds(terms, bytes, link.rttSeconds, false)
}
