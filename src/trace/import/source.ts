import { sha256 } from '../../core/files.ts'
import { InputError } from '../../core/errors.ts'
import type { Direction } from '../types.ts'
import { TRACE_SCHEMA_VERSION } from '../table.ts'
import type { TraceColumn, TraceMeta } from '../table.ts'

/** What the caller knows about a recording that the file may not say. */
export interface SourceInfo {
  /** File name, used in errors and as the trace's name. */
  readonly where: string
  readonly origin: string
  readonly licence: string
  readonly name?: string
  /** Direction of the recorded bytes; some formats contain it. */
  readonly direction?: Direction
  readonly rateKind?: 'raw-capacity' | 'tcp-goodput'
  /** Of the file's bytes, where they are not those of the text. */
  readonly sha256?: string
}

/** Notes that a recording keeps: fewer than a trace may have, as notes of a merge are added to them. */
const MAX_NOTES = 20

/** Metadata of a trace from its source and format. Of equal notes one is kept, and of very many the first. */
export function sourceMeta(
  source: SourceInfo,
  text: string,
  format: string,
  rateKind: TraceMeta['rateKind'],
  notes: string[] = [],
  minBinSeconds = 0,
): TraceMeta {
  return {
    schemaVersion: TRACE_SCHEMA_VERSION,
    name: source.name ?? baseName(source.where),
    origin: source.origin,
    licence: source.licence,
    kind: 'recorded',
    rateKind: rateKind === null ? null : (source.rateKind ?? rateKind),
    format,
    sourceSha256: source.sha256 ?? sha256(text),
    minBinSeconds,
    notes: fewNotes(notes),
  }
}

function fewNotes(notes: readonly string[]): string[] {
  const distinct = [...new Set(notes)]
  if (distinct.length <= MAX_NOTES) return distinct
  const kept = distinct.slice(0, MAX_NOTES - 1)
  return [...kept, `and ${distinct.length - kept.length} more notes`]
}

/**
 * The direction of a file whose format does not contain it: as declared, otherwise from `.up` or `.down` in its name.
 */
export function directionOf(source: SourceInfo): Direction {
  if (source.direction !== undefined) return source.direction
  const suffix = /\.(up|down)$/.exec(source.where)
  if (suffix !== null) return suffix[1] as Direction
  throw new InputError({
    where: source.where,
    expected: 'a declared direction, up (edge to cloud) or down',
    found: 'none, and this format does not say',
    remedy: 'state the direction; it is never guessed',
  })
}

/** The rate column of a direction. */
export function rateColumn(direction: Direction): TraceColumn {
  return direction === 'up' ? 'uplinkBitsPerSecond' : 'downlinkBitsPerSecond'
}

/** The last part of a path of any system, also where a slash ends it. */
export function baseName(path: string): string {
  return path.split(/[\\/]/).filter(Boolean).pop() ?? path
}
