import type { Carrier, CarrierOptions } from './carrier.ts'
import type { Job } from './job.ts'

/** How often requests in flight are looked at again. */
const LOOK_SECONDS = 0.25

export interface SteeringOptions extends Pick<CarrierOptions, 'decider' | 'linkView' | 'time'> {
  readonly carrier: Carrier
}

/** Looks after the requests in flight: alone when the cloud is away, back when it has returned, better where it pays. */
export class Steering {
  private readonly options: SteeringOptions
  private stopTimer: () => void = () => {}

  constructor(options: SteeringOptions) {
    this.options = options
  }

  start(): void {
    this.stopTimer = this.options.time.timers.after(LOOK_SECONDS, () => {
      this.look()
      this.start()
    })
  }

  stop(): void {
    this.stopTimer()
  }

  private look(): void {
    for (const job of this.options.carrier.jobs.values()) this.reconsider(job)
  }

  private reconsider(job: Job): void {
    const { decider, linkView, carrier } = this.options
    const { handle, pending } = job.progress
    if (handle === null || pending !== null) return
    const { placed } = handle
    const change = decider.reconsider({ ...carrier.ask(job), placed }, linkView())
    if (change === null) return
    job.progress.pending = change
    handle.switchPlan(change.placed, change.rebuild)
  }
}
