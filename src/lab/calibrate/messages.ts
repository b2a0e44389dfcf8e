import type { Clock } from '../../core/clock.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { interpolatedMedian } from '../../core/quantile.ts'
import type { CloudProcess, EdgeProcess } from './types.ts'

/** Name of the path between the processes without a relay. */
const DIRECT = 'loopback'
/** First round trips that are ignored, because code and sockets are cold. */
const COLD_ROUND_TRIPS = 10
const ROUND_TRIPS = 80
const QUICK_ROUND_TRIPS = 40

/** Options of profileSides. */
interface ProfileSidesOptions {
  readonly edge: EdgeProcess
  readonly cloud: CloudProcess
  /** Null: the profile is measured now. */
  readonly profile: Profile | null
  readonly quick: boolean
  readonly clock: Clock
}

/** The profile for the predictions: the edge's, with message times between the two processes measured now. */
export async function profileSides(options: ProfileSidesOptions): Promise<Profile> {
  const { edge, cloud, quick, clock } = options
  const { host, port } = await cloud.address()
  await edge.connect(DIRECT, host, port)
  const messageSeconds = await messageTime(edge, DIRECT, quick)
  const profile = options.profile ?? (await edge.profile({ quick, messageSeconds }))
  const count = quick ? QUICK_ROUND_TRIPS : ROUND_TRIPS
  const source = `half the median round trip of ${count} pings of 32..256 bytes between two processes over loopback, 20 ms apart, ${clock.wallTime()}`
  return {
    ...profile,
    wire: { messageSeconds: { value: messageSeconds, provenance: { kind: 'measured', source } } },
  }
}

/** Time of one message of a few bytes: half the median round trip, seconds. */
export async function messageTime(edge: EdgeProcess, link: string, quick: boolean): Promise<number> {
  await edge.roundTrips(link, COLD_ROUND_TRIPS)
  return interpolatedMedian(await edge.roundTrips(link, quick ? QUICK_ROUND_TRIPS : ROUND_TRIPS)) / 2
}
