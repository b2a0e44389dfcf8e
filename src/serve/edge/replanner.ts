import { EdgewiseError } from '../../core/errors.ts'
import { needsCloud } from '../../plan/plan.ts'
import type { RequestRunner, RequestRunnerOptions } from './requestRunner.ts'
import type { RequestState } from './requestState.ts'
import { timed } from './timed.ts'
import type { LinkStatus } from './types.ts'

/** How often requests in flight are looked at again. */
const LOOK_SECONDS = 0.25
/** A cloud that would not have a request, or let it wait for ever, is not asked for it again so soon. */
const AVOID_SECONDS = 30
/** A connected cloud that gives a request no answer for so long will give none. */
const STALL_SECONDS = 30

interface ReplannerOptions extends Pick<
  RequestRunnerOptions,
  'selector' | 'linkStatus' | 'time' | 'limits' | 'onEvent'
> {
  readonly runner: RequestRunner
}

/** Looks after the requests in flight: alone when the cloud is away, back when it has returned, better where it pays. */
export class Replanner {
  private readonly options: ReplannerOptions
  private stopTimer: () => void = () => {}

  constructor(options: ReplannerOptions) {
    this.options = options
  }

  start(): void {
    this.stopTimer = this.options.time.timers.after(LOOK_SECONDS, () => {
      this.start()
      this.checkAll()
    })
  }

  stop(): void {
    this.stopTimer()
  }

  private checkAll(): void {
    for (const state of [...this.options.runner.running.values()]) this.check(state)
  }

  /** A defect here must not take the requests with it: the plan stays. */
  private check(state: RequestState): void {
    const { onEvent, time } = this.options
    try {
      this.reconsider(state)
    } catch (error) {
      state.pendingChange = null
      // A plan that cannot be now is no defect.
      if (error instanceof EdgewiseError) return
      const reason = error instanceof Error ? error.message : String(error)
      onEvent({ kind: 'degraded', atSeconds: time.clock.nowSeconds(), part: 'replanner', reason })
    }
  }

  private reconsider(state: RequestState): void {
    const { selector, runner, time } = this.options
    const { handle, pendingChange: pending } = state
    if (handle === null || pending !== null) return
    const { resolvedPlan: placed } = handle
    const now = time.clock.nowSeconds()
    const isAlone = !needsCloud(placed.plan)
    if (isAlone && now < state.avoidCloudUntilSeconds) return
    const away = this.awaySeconds(state, now)
    const view = away === null ? this.options.linkStatus() : gone(away)
    const change = timed(time.clock, () => selector.reconsider({ ...runner.snapshot(state), placed }, view))
    if (change === null) return
    if (away !== null) state.avoidCloudUntilSeconds = now + AVOID_SECONDS
    state.pendingChange = change
    handle.switchPlan(change.placed, change.rebuild)
  }

  /** For how long the cloud has been of no use to this request, though it is connected; null: it is. */
  private awaySeconds({ refusedSinceSeconds, handle }: RequestState, now: number): number | null {
    if (refusedSinceSeconds !== null && now - refusedSinceSeconds > this.options.limits.outageSeconds) {
      return now - refusedSinceSeconds
    }
    const waiting = handle?.waitingSinceSeconds ?? null
    return waiting !== null && now - waiting > STALL_SECONDS ? now - waiting : null
  }
}

function gone(sinceSeconds: number): LinkStatus {
  return { up: false, sinceSeconds, silentSeconds: sinceSeconds }
}
