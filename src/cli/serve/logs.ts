import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { readCapped, sha256 } from '../../core/files.ts'
import { openDecisionLog, type DecisionLog } from '../../core/journal/decisions.ts'
import { openRequestJournal } from '../../core/journal/requests.ts'
import { OBSERVATION_VERSION } from '../../policy/observation/observation.ts'
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../../policy/bundle/bundleManifest.ts'
import { RequestStore } from '../../serve/edge/requests.ts'
import { systemTimers } from '../../core/timers.ts'
import type { EdgeOptions } from '../commands/edge.ts'
import type { Io } from '../io.ts'
import type { OpenedSide } from '../split/side.ts'

/** What a serving edge writes down. */
export interface Logs {
  readonly folder: string
  readonly decisions: DecisionLog
  readonly requests: RequestStore
  /** Records that could not be written. */
  readonly dropped: () => number
  close(): Promise<void>
}

/** Opens both logs; a disk that fails is said and served without. Throws InputError where another process writes. */
export async function openLogs(options: EdgeOptions, side: OpenedSide, io: Io): Promise<Logs> {
  const folder = options.log === undefined ? stateFolder(io) : resolve(options.log)
  const onError = (error: Error): void => {
    io.stderr.write(`the log ${folder} cannot be written, serving goes on without: ${error.message}\n`)
  }
  const append = { clock: io.clock, timers: systemTimers, onError }
  const { id, fingerprint } = side.greeting.model
  const decisions = await openDecisionLog(
    folder,
    {
      ...{ kind: 'header', version: 1, software: side.greeting.software, model: { id, fingerprint } },
      ...{ observationVersion: OBSERVATION_VERSION, bundle: bundleHash(options.bundle) },
      startedAt: io.clock.wallTime(),
    },
    append,
  )
  const journal = await openRequestJournal(folder, append).catch(async (error: unknown) => {
    await decisions.close()
    throw error
  })
  const weights = `${fingerprint} ${side.precision}`
  return {
    ...{ folder, decisions },
    requests: new RequestStore(journal, side.pretrained.source.model, weights),
    dropped: () => decisions.health.dropped + journal.health.dropped,
    close: async () => {
      await journal.close()
      await decisions.close()
    },
  }
}

function bundleHash(bundle: string | undefined): string | null {
  if (bundle === undefined) return null
  try {
    return sha256(readCapped(join(bundle, MANIFEST_FILE), MAX_MANIFEST_BYTES))
  } catch {
    // A bundle that cannot be read is said where it is opened.
    return null
  }
}

/** By the customs of the system (XDG Base Directory Specification). */
function stateFolder({ env }: Io): string {
  const { XDG_STATE_HOME: xdg } = env
  const base = xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.local', 'state')
  return join(base, 'edgewise', 'edge')
}
