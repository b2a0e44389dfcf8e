import type { Clock } from '../../core/clock.ts'
import { startRelay, type Relay } from '../../trace/replay/relay.ts'
import { type Endpoint } from '../../trace/replay/endpoint.ts'
import { constantLink, createLink } from '../../trace/link.ts'
import type { Link } from '../../trace/types.ts'
import type { LinkCase } from './types.ts'

/** The path of a calibration's frames, with emulated links. */
export interface LinkEmulation {
  /** The address to which the edge connects for a link. */
  address(link: string): Endpoint
  /**
   * Sets the link so that its recording is at its phase when the machine's clock shows `atSeconds`. Nothing may be in
   * transit.
   */
  seek(link: string, atSeconds: number): void
  close(): Promise<void>
}

/** Name of the path without a link: only the relay's own work. */
export const NO_LINK = 'bare relay'
const BARE_BITS_PER_SECOND = 1e12

/** Opens one relay for each link, and one that imposes no link. Throws InputError. */
export async function openRelays(
  links: readonly LinkCase[],
  to: Endpoint,
  clock: Clock,
): Promise<LinkEmulation> {
  const relays = new Map<string, Relay>()
  const shifts = new Map<string, ShiftedLink>()
  const close = async (): Promise<void> => {
    for (const relay of relays.values()) await relay.close()
  }
  const open = async (id: string, link: Link, phaseSeconds: number): Promise<void> => {
    const shifted = new ShiftedLink(link, phaseSeconds)
    shifts.set(id, shifted)
    const listen = { host: '127.0.0.1', port: 0 }
    relays.set(id, await startRelay({ listen, to, clock, link: shifted, startSeconds: 0 }))
  }
  try {
    await open(NO_LINK, constantLink(BARE_BITS_PER_SECOND, BARE_BITS_PER_SECOND, 0), 0)
    for (const { id, series, phaseSeconds } of links) await open(id, createLink(series), phaseSeconds)
  } catch (error) {
    await close()
    throw error
  }
  return {
    address: (link) => ({ host: relays.get(link)!.host, port: relays.get(link)!.port }),
    seek: (link, atSeconds) => {
      const now = clock.nowSeconds()
      const { linkSeconds } = relays.get(link)!.stats()
      shifts.get(link)!.seek(linkSeconds + (atSeconds - now))
    },
    close,
  }
}

/** An emulated WAN: the cloud's own address, and one link that never changes. */
export function overWan(cloud: Endpoint): LinkEmulation {
  return { address: () => cloud, seek: () => {}, close: () => Promise.resolve() }
}

/** A link shifted in time: its recording can be moved to the point where a request is to begin. */
class ShiftedLink implements Link {
  private readonly inner: Link
  private readonly phaseSeconds: number
  private shiftSeconds: number

  constructor(inner: Link, phaseSeconds: number) {
    this.inner = inner
    this.phaseSeconds = phaseSeconds
    this.shiftSeconds = phaseSeconds
  }

  /** From now on the phase is at `atSeconds` of this link's time. */
  seek(atSeconds: number): void {
    this.shiftSeconds = this.phaseSeconds - atSeconds
  }

  sentSeconds(direction: 'up' | 'down', startSeconds: number, bytes: number): number {
    return this.inner.sentSeconds(direction, this.inside(startSeconds), bytes) - this.shiftSeconds
  }

  rttSeconds(atSeconds: number): number {
    return this.inner.rttSeconds(this.inside(atSeconds))
  }

  bitsPerSecond(direction: 'up' | 'down', atSeconds: number): number {
    return this.inner.bitsPerSecond(direction, this.inside(atSeconds))
  }

  bestBitsPerSecond(direction: 'up' | 'down', fromSeconds: number, toSeconds: number): number {
    return this.inner.bestBitsPerSecond(direction, this.inside(fromSeconds), this.inside(toSeconds))
  }

  bestRttSeconds(fromSeconds: number, toSeconds: number): number {
    return this.inner.bestRttSeconds(this.inside(fromSeconds), this.inside(toSeconds))
  }

  nextChangeSeconds(atSeconds: number): number {
    return this.inner.nextChangeSeconds(this.inside(atSeconds)) - this.shiftSeconds
  }

  private inside(seconds: number): number {
    return Math.max(0, seconds + this.shiftSeconds)
  }
}
