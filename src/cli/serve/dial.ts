import type { Dial } from '../../run/executor/recoveryTypes.ts'
import type { EdgeOptions } from '../commands/edge.ts'
import type { Io } from '../io.ts'
import { parseAddress } from '../split/address.ts'
import { connectToCloud } from '../split/link.ts'
import type { OpenedSide } from '../split/side.ts'
import { readTransportOptions } from './transportOptions.ts'

/** How the edge reaches its cloud, again and again; null without one. */
export function dialOf(options: EdgeOptions, { greeting }: OpenedSide, io: Io): Dial | null {
  if (options.cloud === undefined) return null
  const address = parseAddress('--cloud', options.cloud)
  const carriage = readTransportOptions(options, io)
  return (signal) => connectToCloud(address, greeting, options.model, { clock: io.clock, signal }, carriage)
}
