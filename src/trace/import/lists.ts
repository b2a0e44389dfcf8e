import { InputError } from '../../core/errors.ts'
import { decimal, emptyError, lineError, linesOf } from '../lines.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import type { CsvColumn, CsvOptions } from './csv.ts'
import { makeRows, quantityOf, RowCollector, unitOf } from './rows.ts'
import type { RowField, RowRole } from './rows.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'
import { unitNames } from './units.ts'

/**
 * Reads lists: a table on its side, where each line is a column (`31.1,29.0,36.1,...`). Lines without a number at their
 * start, such as `Run 2`, begin another recording, whose lists are counted from 1 again. Which list is what is declared
 * by its number; without a list of times the values come every so many seconds.
 */
export function importLists(text: string, source: SourceInfo, options: CsvOptions): Trace {
  const { where } = source
  const fields = declare(options, where)
  const collector = new RowCollector(fields, options, where)
  let lists: string[][] = []
  let recording = 0
  let left = 0
  let lastLine = 1
  const finish = (): void => {
    if (lists.length === 0) return
    left += lists.length - new Set(fields.map(({ index }) => index).filter((i) => i < lists.length)).size
    const own = fields.map(({ index }) => (index < lists.length ? lists[index] : []))
    const lengths = new Set(own.map(({ length }) => length))
    if (lengths.size > 1 || lengths.has(0)) {
      const found = own.map((list, i) => `list ${fields[i].index + 1} of ${list.length}`).join(', ')
      throw lineError(where, lastLine, 'lists of equal length, as declared', found)
    }
    for (let i = 0; i < own[0].length; i++) {
      collector.add(lastLine, (field) => own[fields.indexOf(field)][i], decimal, `${recording}`)
    }
    lists = []
    recording++
  }
  for (const line of linesOf(text)) {
    if (/^[-+.\d]/.test(line.text)) lists.push(line.text.split(/[\s,;]+/).filter((cell) => cell !== ''))
    else finish()
    lastLine = line.number
  }
  finish()
  if (collector.length === 0) throw emptyError(where, 'a line of numbers')
  const { timeSeconds, columns, notes } = collector.finish()
  if (left > 0) notes.push(`${left} lists not used`)
  const rates = fields.some(({ role }) => role === 'uplink' || role === 'downlink')
  const meta = sourceMeta(source, text, 'lists', rates ? 'tcp-goodput' : null, notes)
  return makeTrace({ meta, timeSeconds, ...columns }, where)
}

function declare({ columns = {}, everySeconds }: CsvOptions, where: string): RowField[] {
  const fields: RowField[] = []
  for (const [role, spec] of Object.entries(columns) as [RowRole, CsvColumn | undefined][]) {
    if (spec === undefined) continue
    const { column, unit } = spec
    const place = `${where}: ${role}`
    if (typeof column !== 'number') {
      throw new InputError({ where: place, expected: 'a list by its number from 1', found: column })
    }
    if (unit === undefined) {
      const expected = `a unit among ${unitNames(quantityOf(role))}`
      throw new InputError({ where: place, expected, found: 'none' })
    }
    fields.push({ role, index: column - 1, unit: unitOf(role, unit, place) })
  }
  if (makeRows(fields, everySeconds)) return fields
  throw new InputError({
    where,
    expected:
      'a declared list of values, a list of times or the step between values, and at most one of end and duration',
    found: fields.map(({ role }) => role).join(', ') || 'none',
    remedy: 'declare them, such as --column uplink=1:Mbit/s --every 0.1',
  })
}
