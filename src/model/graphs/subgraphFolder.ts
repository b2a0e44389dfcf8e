import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { InputError } from '../../core/errors.ts'
import type { RuntimePrecision } from '../precision.ts'

/** Variables of a process environment, by name. */
export type Environment = Readonly<Record<string, string | undefined>>

/** Where the graphs of one model's subgraphs lie. */
export interface SubgraphFolder {
  readonly folder: string
  /** Removes a temporary folder; keeps a cache. */
  close(): void
}

/**
 * The folder for the subgraphs of a model: below `chosen` where one was named, else in the user's cache, else (where
 * that cannot be written) temporary. Throws InputError for a chosen folder that cannot be written.
 */
export function openSubgraphFolder(
  env: Environment,
  chosen: string | undefined,
  fingerprint: string,
  precision: RuntimePrecision,
): SubgraphFolder {
  const name = `${fingerprint.slice(0, 32)}-${precision}`
  const folder = join(chosen === undefined ? userCache(env) : resolve(chosen), name)
  const failure = makeWritable(folder)
  if (failure === null) return { folder, close: () => {} }
  if (chosen !== undefined) {
    const expected = 'a folder that can be written'
    throw new InputError({ where: `--cache ${chosen}`, expected, found: failure })
  }
  const temporary = mkdtempSync(join(tmpdir(), 'edgewise-segments-'))
  return { folder: temporary, close: () => rmSync(temporary, { recursive: true, force: true }) }
}

/** The user's cache by the customs of the system (XDG Base Directory Specification on Linux). */
function userCache(env: Environment): string {
  const { XDG_CACHE_HOME: xdg, LOCALAPPDATA: local } = env
  const base =
    xdg !== undefined && isAbsolute(xdg)
      ? xdg
      : process.platform === 'win32' && local !== undefined
        ? local
        : process.platform === 'darwin'
          ? join(homedir(), 'Library', 'Caches')
          : join(homedir(), '.cache')
  return join(base, 'edgewise', 'segments')
}

/** Null, or why the folder cannot be written. */
function makeWritable(folder: string): string | null {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    accessSync(folder, constants.W_OK | constants.X_OK)
    return null
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}
