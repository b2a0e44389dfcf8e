import { execFile, execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { InputError, show } from '../../core/errors.ts'

/** Options of withWan. */
export interface WanOptions {
  /** C source of the emulator: two TUN devices, one in each namespace, with delayed packets in between. */
  readonly sourcePath: string
  readonly oneWayDelaySeconds: number
  readonly upBitsPerSecond: number
  readonly downBitsPerSecond: number
  /** Bytes that may wait in each direction before packets are dropped. */
  readonly queueBytes: number
  /** Lost packets per thousand; default 0. */
  readonly lossPermille?: number
}

/** One end of the emulated link. */
export interface WanSide {
  readonly namespace: string
  /** IPv4 address, reachable from the other side over the link. */
  readonly address: string
  /** Converts a program and its arguments to a command line that runs on this side. */
  command(program: string, args: readonly string[]): [string, string[]]
}

/** An emulated WAN. */
export interface Wan {
  readonly edge: WanSide
  readonly cloud: WanSide
}

const TUN = '/dev/net/tun'
const EDGE_ADDRESS = '10.77.0.1'
const CLOUD_ADDRESS = '10.77.0.2'
const run = promisify(execFile)
let made = 0

/** Why a WAN cannot be emulated on this machine; null if it can. */
export function wanObstacle(sourcePath: string): string | null {
  if (process.platform !== 'linux') return 'network namespaces exist on Linux only'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  if (!existsSync(TUN)) return `there is no ${TUN}`
  if (!existsSync(sourcePath)) return `there is no emulator source ${sourcePath}`
  if (!works('gcc', ['--version'])) return 'there is no gcc to compile the emulator'
  if (!works('ip', ['-V'])) return 'there is no `ip` (iproute2)'
  if (!works('unshare', ['--net', 'true'])) return 'this root may not make network namespaces'
  return null
}

function works(program: string, args: readonly string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/**
 * Runs `use` with an emulated WAN between two network namespaces: real TCP with its windows and congestion control.
 * Everything is removed again however `use` ends, also on exit and on a signal. Processes that `use` started must be
 * ended by `use`.
 * @throws InputError if this machine cannot emulate a WAN (see `wanObstacle`) or an option is wrong
 */
export async function withWan<T>(options: WanOptions, use: (wan: Wan) => Promise<T>): Promise<T> {
  checkWan(options)
  const obstacle = wanObstacle(options.sourcePath)
  if (obstacle !== null) throw refused(obstacle)
  const name = `edgewise-${process.pid}-${made++}`
  const parts: Parts = {
    folder: mkdtempSync(join(tmpdir(), 'edgewise-wan-')),
    namespaces: [`${name}-edge`, `${name}-cloud`],
    emulator: null,
  }
  const forget = cleanAtExit(parts)
  try {
    parts.emulator = await startEmulator(parts, options)
    const [edge, cloud] = parts.namespaces
    return await use({ edge: side(edge, EDGE_ADDRESS), cloud: side(cloud, CLOUD_ADDRESS) })
  } finally {
    forget()
    clean(parts)
  }
}

interface Parts {
  readonly folder: string
  readonly namespaces: readonly [string, string]
  emulator: ChildProcess | null
}

function side(namespace: string, address: string): WanSide {
  return {
    namespace,
    address,
    command: (program, args) => ['ip', ['netns', 'exec', namespace, program, ...args]],
  }
}

function checkWan({ sourcePath: _, lossPermille = 0, ...figures }: WanOptions): void {
  for (const [name, value] of Object.entries({ ...figures, lossPermille })) {
    const least = name === 'oneWayDelaySeconds' || name === 'lossPermille' ? 0 : 1
    if (value >= least && value <= 1e12) continue
    throw new InputError({
      where: `wan: ${name}`,
      expected: `a number ${least}..1e12`,
      found: String(value),
    })
  }
}

async function startEmulator({ folder, namespaces }: Parts, options: WanOptions): Promise<ChildProcess> {
  const program = join(folder, 'emulator')
  try {
    await run('gcc', ['-O2', '-o', program, options.sourcePath])
    for (const namespace of namespaces) await run('ip', ['netns', 'add', namespace])
  } catch (error) {
    throw refused((error as Error).message, error)
  }
  const [edge, cloud] = namespaces
  const { oneWayDelaySeconds, upBitsPerSecond, downBitsPerSecond, queueBytes, lossPermille = 0 } = options
  const figures = [1e6 * oneWayDelaySeconds, upBitsPerSecond, downBitsPerSecond, queueBytes, lossPermille]
  const child = spawn(
    program,
    [edge, `${EDGE_ADDRESS}/24`, cloud, `${CLOUD_ADDRESS}/24`, ...figures.map((f) => `${Math.round(f)}`)],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  await ready(child)
  return child
}

/** Waits until the emulator prints "ready": both devices are up. */
async function ready(child: ChildProcess): Promise<void> {
  let text = ''
  const ended = once(child, 'close').then(() => false)
  const said = new Promise<boolean>((resolve) => {
    child.stderr?.on('data', (chunk) => {
      text += String(chunk)
      if (text.includes('ready')) resolve(true)
    })
  })
  if (!(await Promise.race([said, ended]))) throw refused(`the emulator ended: ${show(text.trim(), 200)}`)
}

function refused(found: string, cause?: unknown): InputError {
  const remedy = 'run as root on Linux with iproute2, gcc and TUN, or use `edgewise link replay`'
  return new InputError(
    { where: 'wan', expected: 'a machine that can emulate a WAN', found, remedy },
    { cause },
  )
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/** Removes the WAN if the process ends early; returns a function that cancels this. */
function cleanAtExit(parts: Parts): () => void {
  const onExit = (): void => clean(parts)
  const onSignal = (signal: NodeJS.Signals): void => {
    clean(parts)
    // Without other listeners, the signal must end the process as it does by default.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
  process.once('exit', onExit)
  for (const signal of SIGNALS) process.once(signal, onSignal)
  return () => {
    process.off('exit', onExit)
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
}

/** Synchronous, because it runs at exit; may be called twice. */
function clean({ folder, namespaces, emulator }: Parts): void {
  emulator?.kill('SIGKILL')
  for (const namespace of namespaces) works('ip', ['netns', 'delete', namespace])
  rmSync(folder, { recursive: true, force: true })
}
