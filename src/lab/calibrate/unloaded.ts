import { requestUse, type EvaluationRecorder, type TransferTimes } from '../../plan/price/evaluate.ts'
import { latencySeconds, type NetworkTerms } from '../../plan/price/network.ts'
import { RESOURCE, type Program, type Stage } from '../../plan/price/program.ts'
import type { Link } from '../../trace/types.ts'
import type { Lengths } from './types.ts'

/** Times of one request with machine and link to itself, seconds since its start. */
interface UnloadedTimes {
  readonly ttftSeconds: number
  readonly endToEndSeconds: number
  readonly edgeSeconds: number
  readonly cloudSeconds: number
  /** Sums over messages of arrival minus readiness. */
  readonly upSeconds: number
  readonly downSeconds: number
  readonly upBytes: number
  readonly downBytes: number
}

/**
 * Evaluates one request's program over a link from the link's `startSeconds` on (docs/model.md (6) to (18)), term by
 * term: as `evaluateProgram` does, with rates and RTT that change and a connection that cools. Without other requests a
 * stage waits only for earlier stages of its own, so that one pass in stage order is exact; tests compare it with the
 * reference simulator. The connection is warm at the start.
 */
export function simulateUnloaded(
  program: Program,
  link: Link,
  network: NetworkTerms,
  lengths: Lengths,
  startSeconds: number,
): UnloadedTimes {
  const waits = new TransferWaits()
  const reader = { ...lengths, readingTokensPerSecond: Infinity }
  const use = requestUse(program, reader, new ChangingLink(link, network, startSeconds), startSeconds, waits)
  return {
    ttftSeconds: use.ttftSeconds,
    endToEndSeconds: use.e2eSeconds,
    edgeSeconds: use.edgeSeconds,
    cloudSeconds: use.cloudSeconds,
    upSeconds: waits.upSeconds,
    downSeconds: waits.downSeconds,
    upBytes: use.upBytes,
    downBytes: use.downBytes,
  }
}

/** Sums the seconds from a message's readiness to its arrival. */
class TransferWaits implements EvaluationRecorder {
  upSeconds = 0
  downSeconds = 0

  list(): void {
    // Only stages count.
  }

  stage({ resource }: Stage, ready: number, _begin: number, _left: number, end: number): void {
    if (resource === RESOURCE.up) this.upSeconds += end - ready
    else if (resource === RESOURCE.down) this.downSeconds += end - ready
  }
}

/** A link whose rates and RTT change, and on which a direction that was idle for long is cold. */
class ChangingLink implements TransferTimes {
  private readonly link: Link
  private readonly network: NetworkTerms
  /** By resource: when the last large message was sent. */
  private readonly lastLargeSeconds: Float64Array

  constructor(link: Link, network: NetworkTerms, startSeconds: number) {
    this.link = link
    this.network = network
    this.lastLargeSeconds = new Float64Array(4).fill(startSeconds)
  }

  sentSeconds({ resource, bytes }: Stage, beginSeconds: number): number {
    return this.link.sentSeconds(resource === RESOURCE.up ? 'up' : 'down', beginSeconds, bytes)
  }

  latencySeconds({ resource, bytes, express }: Stage, beginSeconds: number, sentSeconds: number): number {
    const { link, network, lastLargeSeconds } = this
    const isLarge = !express && bytes > network.windowBytes
    const isCold = isLarge && lastLargeSeconds[resource] <= beginSeconds - network.coldAfterSeconds
    if (isLarge) lastLargeSeconds[resource] = sentSeconds
    return latencySeconds(network, bytes, link.rttSeconds(sentSeconds), isCold)
  }
}
