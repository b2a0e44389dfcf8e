import { CLOUD, EDGE, type Side } from '../plan.ts'
import type { CallCosts } from './pair.ts'
import { RESOURCE, type Stage, type StageList } from './program.ts'

/**
 * Builds a stage list: consecutive compute on one side becomes one stage (one call of one session, which costs
 * a dispatch of its side beside its blocks), and a transfer or a join ends it. A call that waits for a transfer
 * has to wake its core; so has a list's first one where `startsAfterPause`.
 */
export class StageBuilder {
  private readonly stages: Stage[] = []
  private open: OpenStage | null = null
  /** What the next stage waits for. */
  private tail: number[] = []
  private readonly calls: CallCosts
  private readonly startsAfterPause: boolean

  constructor(calls: CallCosts, startsAfterPause: boolean) {
    this.calls = calls
    this.startsAfterPause = startsAfterPause
  }

  /** Adds time before the first call: deciding, loading. */
  prepare(side: Side, seconds: number): void {
    this.openAt(side).seconds += seconds
  }

  /** Adds compute that follows everything before it. `curve` (seconds at the side's context knots) is summed. */
  compute(side: Side, seconds: number, curve: Float64Array | null): void {
    const stage = this.openAt(side)
    if (!stage.called) stage.seconds += this.callSeconds(side, stage.after)
    stage.called = true
    stage.seconds += seconds
    if (curve !== null) stage.curve = addCurves(stage.curve, curve)
  }

  /** Adds a transfer that follows everything before it and leaves from `from`. */
  transfer(from: Side, bytes: number, express = false): void {
    this.flush()
    this.tail = [this.push(transferStage(from, bytes, this.tail, express))]
  }

  /** Adds a transfer that nothing later in the list waits for, and returns its index. */
  aside(from: Side, bytes: number, express: boolean): number {
    this.flush()
    return this.push(transferStage(from, bytes, this.tail, express))
  }

  /**
   * Attention on both sides at once. x goes to the far side; its partial sum comes back
   * (`sumAt` = near), or the near side's follows it (`sumAt` = far). The two sides run in parallel.
   */
  fork(near: Side, nearWork: ComputeWork, farWork: ComputeWork, bytes: number, sumAt: Side): void {
    this.flush()
    const start = this.tail
    const far: Side = near === EDGE ? CLOUD : EDGE
    const sent = this.push(transferStage(near, bytes, start, false))
    const nearDone = this.push(computeStage(near, this.called(near, nearWork, start), start))
    const farDone = this.push(computeStage(far, this.called(far, farWork, [sent]), [sent]))
    const partial =
      sumAt === near
        ? this.push(transferStage(far, bytes, [farDone], false))
        : this.push(transferStage(near, bytes, [nearDone], false))
    this.tail = sumAt === near ? [nearDone, partial] : [farDone, partial]
  }

  /** Index of the stage that ends the chain so far. */
  last(): number {
    this.flush()
    if (this.tail.length !== 1)
      throw new RangeError(`last: expected one final stage, found ${this.tail.length}`)
    return this.tail[0]
  }

  finish(loop: number, deliver: number): StageList {
    this.flush()
    return { stages: this.stages, loop, deliver }
  }

  private openAt(side: Side): OpenStage {
    if (this.open?.side === side) return this.open
    this.flush()
    this.open = { side, seconds: 0, curve: null, after: this.tail, called: false }
    return this.open
  }

  private called(side: Side, { seconds, curve }: ComputeWork, after: readonly number[]): ComputeWork {
    return { seconds: this.callSeconds(side, after) + seconds, curve }
  }

  /** What calling a session costs once `after` is done. */
  private callSeconds(side: Side, after: readonly number[]): number {
    const { dispatch, wake } = this.calls
    const paused = after.length === 0 ? this.startsAfterPause : after.some((stage) => this.isTransfer(stage))
    return dispatch[side] + (paused ? wake[side] : 0)
  }

  private isTransfer(stage: number): boolean {
    const { resource } = this.stages[stage]
    return resource === RESOURCE.up || resource === RESOURCE.down
  }

  private flush(): void {
    if (this.open === null) return
    const { side, seconds, curve, after } = this.open
    this.open = null
    this.tail = [this.push(computeStage(side, { seconds, curve }, after))]
  }

  private push(stage: Stage): number {
    this.stages.push(stage)
    return this.stages.length - 1
  }
}

interface OpenStage {
  readonly side: Side
  seconds: number
  curve: Float64Array | null
  readonly after: number[]
  /** Whether it calls a session: preparations do not. */
  called: boolean
}

export interface ComputeWork {
  readonly seconds: number
  readonly curve: Float64Array | null
}

function computeStage(side: Side, work: ComputeWork, after: readonly number[]): Stage {
  const resource = side === EDGE ? RESOURCE.edge : RESOURCE.cloud
  return { resource, after, seconds: work.seconds, curve: work.curve, bytes: 0, express: false }
}

function transferStage(from: Side, bytes: number, after: readonly number[], express: boolean): Stage {
  const resource = from === EDGE ? RESOURCE.up : RESOURCE.down
  return { resource, after, seconds: 0, curve: null, bytes, express }
}

function addCurves(sum: Float64Array | null, curve: Float64Array): Float64Array {
  if (sum === null) return curve.slice()
  for (let i = 0; i < sum.length; i++) sum[i] += curve[i]
  return sum
}
