import { latencySeconds, type NetworkTerms } from '../../plan/price/network.ts'
import {
  askedOfCloud,
  curveAt,
  RESOURCE,
  type Program,
  type Stage,
  type StageList,
} from '../../plan/price/program.ts'
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

interface Direction {
  readonly name: 'up' | 'down'
  freeSeconds: number
  lastLargeSentSeconds: number
  seconds: number
  bytes: number
}

/**
 * Simulates one request with its program over a link from the link's `startSeconds` on (docs/model.md (6) to (18)),
 * term by term. Without other requests, a stage waits only for earlier stages of its own request, so that one pass in
 * stage order is exact; tests compare it with the reference simulator. The connection is warm at the start.
 */
export function simulateUnloaded(
  program: Program,
  link: Link,
  network: NetworkTerms,
  lengths: Lengths,
  startSeconds: number,
): UnloadedTimes {
  const walker = new UnloadedSimulator(program, link, network, startSeconds)
  let first = NaN
  let delivered = startSeconds
  let begin = startSeconds
  for (let token = 1; token <= lengths.outputTokens; token++) {
    const asked = askedOfCloud(program.askShare, token) && program.cycles.length > 1
    const list = token === 1 ? program.prefill : program.cycles[asked ? 1 : 0]
    const ends = walker.pass(list, begin, lengths.promptTokens + token - 1)
    delivered = Math.max(delivered, ends[list.deliver])
    if (token === 1) first = delivered
    begin = ends[list.loop]
  }
  const { up, down, edgeSeconds, cloudSeconds } = walker
  return {
    ttftSeconds: first - startSeconds,
    endToEndSeconds: delivered - startSeconds,
    edgeSeconds,
    cloudSeconds,
    upSeconds: up.seconds,
    downSeconds: down.seconds,
    upBytes: up.bytes,
    downBytes: down.bytes,
  }
}

class UnloadedSimulator {
  readonly up: Direction
  readonly down: Direction
  edgeSeconds = 0
  cloudSeconds = 0
  private readonly program: Program
  private readonly link: Link
  private readonly network: NetworkTerms
  private edgeFree: number
  private cloudFree: number

  constructor(program: Program, link: Link, network: NetworkTerms, startSeconds: number) {
    this.program = program
    this.link = link
    this.network = network
    this.edgeFree = startSeconds
    this.cloudFree = startSeconds
    const fresh = { freeSeconds: startSeconds, lastLargeSentSeconds: startSeconds, seconds: 0, bytes: 0 }
    this.up = { name: 'up', ...fresh }
    this.down = { name: 'down', ...fresh }
  }

  /** Completion time of each stage of one token. */
  pass({ stages }: StageList, begin: number, context: number): number[] {
    const ends: number[] = []
    for (const stage of stages) {
      const ready = stage.after.reduce((latest, index) => Math.max(latest, ends[index]), begin)
      const { resource } = stage
      if (resource === RESOURCE.edge || resource === RESOURCE.cloud)
        ends.push(this.compute(stage, ready, context))
      else ends.push(this.transfer(resource === RESOURCE.up ? this.up : this.down, stage, ready))
    }
    return ends
  }

  private compute({ resource, seconds, curve }: Stage, ready: number, context: number): number {
    const edge = resource === RESOURCE.edge
    const knots = edge ? this.program.edgeKnots : this.program.cloudKnots
    const work = seconds + (curve === null ? 0 : curveAt(knots, curve, context))
    const end = Math.max(ready, edge ? this.edgeFree : this.cloudFree) + work
    if (edge) {
      this.edgeFree = end
      this.edgeSeconds += work
    } else {
      this.cloudFree = end
      this.cloudSeconds += work
    }
    return end
  }

  private transfer(direction: Direction, { bytes, express }: Stage, ready: number): number {
    const { link, network } = this
    const start = express ? ready : Math.max(ready, direction.freeSeconds)
    const sent = link.sentSeconds(direction.name, start, bytes)
    const large = !express && bytes > network.windowBytes
    const cold = large && direction.lastLargeSentSeconds <= start - network.coldAfterSeconds
    const end = sent + latencySeconds(network, bytes, link.rttSeconds(sent), cold)
    if (large) direction.lastLargeSentSeconds = sent
    if (!express) direction.freeSeconds = sent
    direction.bytes += bytes
    direction.seconds += end - ready
    return end
  }
}
