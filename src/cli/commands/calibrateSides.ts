import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, join } from 'node:path'
import { remoteCloud, remoteEdge, startChild, type Child } from '../../lab/calibrate/rpc.ts'
import type { RuntimePrecision } from '../../model/precision.ts'
import type { CloudProcess, EdgeProcess } from '../../lab/calibrate/types.ts'
import type { Wan, WanSide } from '../../trace/replay/namespaces.ts'
import type { Io } from '../io.ts'

/** Options of withSides. */
interface SidesOptions {
  readonly model: string
  /** Of the weights of both sides: the simulator has one profile for the two. */
  readonly precision: RuntimePrecision
  readonly cache?: string
  /** Whether each side gets a processor core of its own. */
  readonly pinned: boolean
  /** Null: both are on this machine's loopback. */
  readonly wan: Wan | null
}

/** The two processes of a calibration. */
export interface Sides {
  readonly edge: EdgeProcess
  readonly cloud: CloudProcess
}

/** Runs `use` with both processes; they have ended when it returns, however it ends. */
export async function withSides<T>(
  options: SidesOptions,
  io: Io,
  use: (sides: Sides) => Promise<T>,
): Promise<T> {
  const children: Child[] = []
  const endAll = async (): Promise<void> => {
    await Promise.all(children.map((child) => child.end()))
  }
  io.onExit(endAll)
  try {
    const [cloud, edge] = (['cloud', 'edge'] as const).map((side) => {
      const child = startChild(commandOf(options, side), side)
      children.push(child)
      return child.caller
    })
    await Promise.all([cloud.ready, edge.ready])
    return await use({ edge: remoteEdge(edge), cloud: remoteCloud(cloud) })
  } finally {
    await endAll()
  }
}

/** Whether each side can have a processor core of its own. */
export function canPin(io: Io): boolean {
  const folders = (io.env.PATH ?? '').split(delimiter)
  return (
    process.platform === 'linux' &&
    availableParallelism() >= 2 &&
    folders.some((folder) => existsSync(join(folder, 'taskset')))
  )
}

/** The command that starts this program again as one side. */
function commandOf({ model, precision, cache, pinned, wan }: SidesOptions, side: 'edge' | 'cloud'): string[] {
  const core = side === 'edge' ? 0 : 1
  const self = [process.execPath, ...process.execArgv, process.argv[1], 'calibrate-edge']
  const command = [
    ...(pinned ? ['taskset', '-c', String(core)] : []),
    ...self,
    '--side',
    side,
    '--model',
    model,
    '--precision',
    precision,
    ...(cache === undefined ? [] : ['--cache', cache]),
  ]
  return wan === null ? command : inNamespace(wan[side], command)
}

/** Plaintext leaves loopback here, but not the machine: no other process is in these namespaces. */
function inNamespace(side: WanSide, command: readonly string[]): string[] {
  const [first, ...rest] = command
  const [program, args] = side.command(first, [...rest, '--listen', side.address, '--insecure-network'])
  return [program, ...args]
}
