import type { TimeSource } from '../../core/timers.ts'
import type { CloudLink } from '../../run/executor/cloudLink.ts'
import type { EdgeExecutor } from '../../run/executor/edge.ts'
import type { RecoveryEvent } from '../../run/executor/recoveryTypes.ts'
import type { Connection } from '../../run/wire/types.ts'
import type { RequestRunner } from './requestRunner.ts'
import type { LinkStatus, ServiceEvent } from './types.ts'
import { probeLink } from './probe.ts'

/** A link of which nothing was measured for so long is probed. */
const PROBE_AFTER_SECONDS = 10
/** There and back: enough for a rate on links up to some 100 Mbit/s, 26 ms at 10 Mbit/s. */
const PROBE_BYTES = 16 * 1024

/** Less says more of chance than of a rate; what decides would leave it out, too. */
const SAMPLE_BYTES = 1024

interface TelemetryOptions {
  readonly link: CloudLink | null
  readonly executor: EdgeExecutor
  readonly time: TimeSource
  readonly onEvent: (event: ServiceEvent) => void
}

/** Turns what link and executor tell into events of the service, and measures the link where nobody else does. */
export class TelemetryCollector {
  private readonly options: TelemetryOptions
  private sinceSeconds: number
  private lastReceivedSeconds = -Infinity
  private measuredSeconds = -Infinity
  private wasMeasured = false
  private stopTimer: () => void = () => {}
  /** Null until something was heard. */
  rttSeconds: number | null = null

  constructor(options: TelemetryOptions) {
    this.options = options
    this.sinceSeconds = options.time.clock.nowSeconds()
  }

  /** Begins to listen; `runner` hears of plans that changed. */
  open(runner: RequestRunner): void {
    const { link, executor } = this.options
    executor.onEvent((event) => this.take(event, runner))
    if (link === null) return
    link.onEvent((event) => this.take(event, runner))
    link.onConnection((connection) => this.listen(connection))
    executor.onLoad(({ sequences, own, upBytes, upSeconds }) =>
      this.loadReport(sequences - own, upBytes, upSeconds),
    )
    this.probe()
  }

  close(): void {
    this.stopTimer()
  }

  linkStatus(): LinkStatus {
    const { link, time } = this.options
    const now = time.clock.nowSeconds()
    if (link === null) return { up: false, sinceSeconds: Infinity, silentSeconds: Infinity }
    // Whatever came is a sign of life, not heartbeats alone.
    const heard = Math.max(this.lastReceivedSeconds, link.connection?.heardSeconds ?? -Infinity)
    return { up: link.state === 'up', sinceSeconds: now - this.sinceSeconds, silentSeconds: now - heard }
  }

  private take(event: RecoveryEvent, runner: RequestRunner): void {
    if (event.kind === 'link-up' || event.kind === 'link-down') this.sinceSeconds = event.atSeconds
    if (event.kind === 'link-up') this.lastReceivedSeconds = event.atSeconds
    runner.onRecoveryEvent(event)
    this.options.onEvent(
      'request' in event ? { ...event, request: runner.running.get(event.request)?.number ?? null } : event,
    )
  }

  private listen(connection: Connection): void {
    connection.onHeartbeat(({ atSeconds, rttSeconds }) => this.heartbeat(atSeconds, rttSeconds))
    connection.onTransfer(({ bytes, startSeconds, endSeconds }) =>
      this.transfer('down', bytes, startSeconds, endSeconds),
    )
    void this.measure(connection)
    this.pingAtOnce(connection).catch(() => {
      // The connection is gone: the link says so.
    })
  }

  private heartbeat(atSeconds: number, rttSeconds: number): void {
    this.lastReceivedSeconds = atSeconds
    this.rttSeconds = rttSeconds
    this.options.onEvent({ kind: 'heartbeat', atSeconds, rttSeconds })
  }

  /** A cloud that is back is known to be within one round trip: the first heartbeat would take a second. */
  private async pingAtOnce(connection: Connection): Promise<void> {
    const { rttSeconds } = await connection.ping()
    this.heartbeat(this.options.time.clock.nowSeconds(), rttSeconds)
  }

  /** Rates and round trip, by pings. Once: after an outage the link has requests to bring back before all else. */
  private async measure(connection: Connection): Promise<void> {
    const { time, onEvent } = this.options
    if (this.wasMeasured) return
    this.wasMeasured = true
    this.measuredSeconds = time.clock.nowSeconds()
    try {
      const link = await probeLink(connection, time.clock)
      const atSeconds = time.clock.nowSeconds()
      this.lastReceivedSeconds = atSeconds
      this.rttSeconds ??= link.rttSeconds
      onEvent({ kind: 'link-probed', atSeconds, link })
    } catch {
      // The connection is gone: the link says so, and the next one is measured.
      this.wasMeasured = false
    }
  }

  private loadReport(tenants: number, upBytes: number, upSeconds: number): void {
    const { time, onEvent } = this.options
    const atSeconds = time.clock.nowSeconds()
    onEvent({ kind: 'load', atSeconds, tenants })
    if (upBytes > 0 && upSeconds > 0) this.transfer('up', upBytes, atSeconds - upSeconds, atSeconds)
  }

  private transfer(direction: 'up' | 'down', bytes: number, startSeconds: number, endSeconds: number): void {
    if (bytes < SAMPLE_BYTES) return
    this.measuredSeconds = endSeconds
    this.options.onEvent({ kind: 'transfer', atSeconds: endSeconds, direction, bytes, startSeconds })
  }

  /** Text answers are short: a link that carries nothing large is measured by a ping that is. */
  private probe(): void {
    const { time, link } = this.options
    this.stopTimer = time.timers.after(1, () => {
      const silent = time.clock.nowSeconds() - this.measuredSeconds
      const connection = link?.connection ?? null
      if (silent > PROBE_AFTER_SECONDS && connection !== null) this.ping(connection)
      this.probe()
    })
  }

  private ping(connection: Connection): void {
    this.measuredSeconds = this.options.time.clock.nowSeconds()
    connection.ping(PROBE_BYTES).catch(() => {
      // The connection is gone: the link says so.
    })
  }
}
