import type { Clock } from '../../core/clock.ts'
import { ConnectionError } from './errors.ts'
import type { Role } from './phases.ts'
import type { PingResult } from './ping.ts'
import type { Timers } from '../../core/timers.ts'
import type { Heartbeat, WireLimits } from './types.ts'

/** What the heartbeat monitor needs from its connection. */
export interface HeartbeatHost {
  /** Bytes of all frames given to the transport so far. */
  givenBytes(): number
  /** Bytes that the transport has not taken yet. */
  queuedBytes(): number
  /** Sends a ping without padding; rejects if the connection ends before the answer. */
  ping(): Promise<PingResult>
  /** Runs code that may throw: an error ends the connection. */
  attempt(run: () => void): void
  /** Ends the connection, because the peer does not respond. */
  giveUp(error: ConnectionError): void
}

/** Checks per `silenceSeconds`: a dead peer is detected at most one check late. */
const LOOKS = 5
/** A side that has sent nothing for this share of `silenceSeconds` sends a ping, even if a transfer is in progress. */
const SIGN_OF_LIFE = 0.3

/**
 * Keeps a connection alive, and detects a peer that is not: stopped, vanished, or behind a half-open socket. The client
 * pings periodically. Either side also pings if it has sent nothing for a while, so that a peer whose long frame is
 * still arriving receives something. Time in which this process did not run (suspended) does not count as silence of
 * the peer.
 */
export class HeartbeatMonitor {
  private readonly host: HeartbeatHost
  private readonly role: Role
  private readonly clock: Clock
  private readonly timers: Timers
  private readonly limits: WireLimits
  private lastHeard: number
  /** Start of the peer's silence: `lastHeard`, or later if this process did not run. */
  private silentFrom: number
  private takenBytes = 0
  private givenBytes = 0
  private queuedBytes = 0
  private sentSeconds = 0
  private beatSeconds = 0
  private beating = false
  private readonly listeners: ((beat: Heartbeat) => void)[] = []
  private stopTimer: () => void = () => {}

  constructor(
    host: HeartbeatHost,
    options: {
      readonly role: Role
      readonly clock: Clock
      readonly timers: Timers
      readonly limits: WireLimits
    },
  ) {
    this.host = host
    this.role = options.role
    this.clock = options.clock
    this.timers = options.timers
    this.limits = options.limits
    this.lastHeard = this.silentFrom = this.clock.nowSeconds()
  }

  get heardSeconds(): number {
    this.notice(this.clock.nowSeconds())
    return this.lastHeard
  }

  onHeartbeat(listener: (beat: Heartbeat) => void): void {
    this.listeners.push(listener)
  }

  heard(nowSeconds: number): void {
    this.lastHeard = this.silentFrom = nowSeconds
  }

  start(): void {
    const { heartbeatSeconds, silenceSeconds } = this.limits
    if (heartbeatSeconds === null) return
    const now = this.clock.nowSeconds()
    this.silentFrom = this.sentSeconds = this.beatSeconds = now
    this.notice(now)
    this.wait(Math.min(heartbeatSeconds, silenceSeconds / LOOKS), heartbeatSeconds)
  }

  stop(): void {
    this.stopTimer()
    this.stopTimer = () => {}
  }

  private wait(periodSeconds: number, heartbeatSeconds: number): void {
    const due = this.clock.nowSeconds() + periodSeconds
    const look = (): void => {
      const now = this.clock.nowSeconds()
      if (now - due > periodSeconds) this.silentFrom = Math.min(now, this.silentFrom + now - due)
      this.wait(periodSeconds, heartbeatSeconds)
      this.look(now, periodSeconds, heartbeatSeconds)
    }
    this.stopTimer = this.timers.after(periodSeconds, look, true)
  }

  private look(now: number, periodSeconds: number, heartbeatSeconds: number): void {
    this.notice(now)
    const { silenceSeconds } = this.limits
    // Timers may fire slightly early: half a period is close enough.
    const early = periodSeconds / 2
    if (now - this.silentFrom >= silenceSeconds) {
      const text = `nothing heard for ${silenceSeconds} s`
      this.host.giveUp(new ConnectionError('E_CONNECTION_TIMEOUT', text))
      return
    }
    const due = this.role === 'client' && !this.beating && now - this.beatSeconds > heartbeatSeconds - early
    const quiet = this.host.queuedBytes() === 0 && now - this.sentSeconds > SIGN_OF_LIFE * silenceSeconds
    if (due || quiet) this.beat(now)
  }

  private beat(now: number): void {
    this.beating = true
    this.beatSeconds = now
    void this.host.ping().then(
      (result) => {
        this.beating = false
        const beat = { atSeconds: this.clock.nowSeconds(), ...result }
        this.host.attempt(() => {
          for (const listener of this.listeners) listener(beat)
        })
      },
      // Ignored: the end of the connection reports it.
      () => undefined,
    )
  }

  /** Updates which bytes were sent, and which the transport has taken, since the last call. */
  private notice(now: number): void {
    const [givenBytes, queuedBytes] = [this.host.givenBytes(), this.host.queuedBytes()]
    if (givenBytes > this.givenBytes) this.sentSeconds = now
    this.givenBytes = givenBytes
    const taken = givenBytes - queuedBytes
    // Taken bytes prove that the peer is alive only if they had to wait: the system's buffers take some even if the
    // peer is gone.
    if (taken > this.takenBytes && this.queuedBytes > 0) this.heard(now)
    this.takenBytes = taken
    this.queuedBytes = queuedBytes
  }
}
