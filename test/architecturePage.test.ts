import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { DISTRICTS, PUBLIC_ENTRIES } from './rooms.ts'

const page = readFileSync(resolve(import.meta.dirname, '../docs/architecture.md'), 'utf8')

/** Rows of a table below a heading, cells trimmed, without the two lines of its head. */
function rowsBelow(heading: string): string[][] {
  const section = page.split(`\n## ${heading}\n`)[1].split('\n## ')[0]
  const lines = section.split('\n').filter((line) => line.startsWith('|'))
  return lines.slice(2).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

describe('docs/architecture.md', () => {
  it('has the districts of test/rooms.ts, in their order, with their rooms and the reason of each arrow', () => {
    const expected = Object.entries(DISTRICTS).map(([name, { folder, purpose, rooms = [], imports }]) => [
      `\`${name}\``,
      `\`${folder}\``,
      purpose,
      rooms.filter((room) => room !== '.').join(', '),
      Object.entries(imports)
        .map(([to, reason]) => `**${to}**: ${reason}`)
        .join('; '),
    ])
    expect(rowsBelow('Districts')).toEqual(expected)
  })

  it('has the public entries of test/rooms.ts', () => {
    const expected = Object.entries(PUBLIC_ENTRIES).map(([name, file]) => [
      `\`edgewise/${name}\``,
      `\`${file}\``,
    ])
    expect(rowsBelow('Public entries')).toEqual(expected)
  })
})
