import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..')
const glossary = readFileSync(join(root, 'docs/glossary.md'), 'utf8')

/** Endings that the glossary's first paragraph explains. */
const ENDINGS = /^(Options|Limits|Settings|Config|Spec|Stats|Metrics|Summary|Report|Result|Error|Code)$/

/** Words of a former dialect, each with the one that took its place. */
const FORMER: Readonly<Record<string, string>> = {
  Governor: 'PlanController',
  Ears: 'TelemetryCollector',
  Desk: 'ApiState',
  Carrier: 'RequestRunner',
  Telling: 'GenerateOptions',
  Took: 'Stats',
  Door: 'Acceptor',
  Leg: 'span',
  Segment: 'Subgraph',
  Placed: 'ResolvedPlan',
  Walker: 'PlanDecoder',
}

/** Parts of a name: `KvCacheMigration` is Kv, Cache, Migration. */
const partsOf = (name: string): string[] => name.match(/X509|[A-Z]+(?![a-z])|[A-Z][a-z0-9]*/g) ?? []

const singular = (word: string): string[] => [
  word,
  word.replace(/s$/, ''),
  word.replace(/ies$/, 'y'),
  word.replace(/es$/, ''),
]

/** Words of the first column of the glossary's tables. */
function wordsOf(page: string): Set<string> {
  const cells = page
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.split('|')[1])
  return new Set(
    cells.flatMap((cell) => cell.match(/[A-Za-z][A-Za-z0-9]*/g) ?? []).map((word) => word.toLowerCase()),
  )
}

/** A name's head noun if the glossary does not have it. */
function lackingHead(name: string, words: ReadonlySet<string>): string | null {
  const head = partsOf(name).at(-1) ?? name
  const isKnown = ENDINGS.test(head) || singular(head.toLowerCase()).some((word) => words.has(word))
  return isKnown ? null : head
}

/** Every type (interface, alias, class) that a file exports. */
function exportedTypes(text: string): string[] {
  const source = ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest)
  return source.statements.flatMap((node) => {
    const isType =
      ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isClassDeclaration(node)
    if (!isType || node.name === undefined) return []
    return node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true
      ? [node.name.text]
      : []
  })
}

const types = ['src', 'envs'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => exportedTypes(readFileSync(join(root, folder, file), 'utf8'))),
)

describe('docs/glossary.md', () => {
  const words = wordsOf(glossary)

  it('has the head noun of every exported type', () => {
    expect(types.length).toBeGreaterThan(500)
    const lacking = types.flatMap((name) => {
      const head = lackingHead(name, words)
      return head === null ? [] : [`${name}: ${head}`]
    })
    expect(lacking).toEqual([])
  })

  it('names no type in words of the former dialect', () => {
    expect(types.filter((name) => partsOf(name).some((part) => Object.hasOwn(FORMER, part)))).toEqual([])
  })
})

describe('the check itself', () => {
  it('finds the head noun, an ending or a plural', () => {
    const words = wordsOf('| plan, cache | x | y |\n| --- | --- | --- |\n')
    expect([...words]).toEqual(['plan', 'cache'])
    expect(lackingHead('PlanOptions', words)).toBeNull()
    expect(lackingHead('KvCaches', words)).toBeNull()
    expect(lackingHead('CloudEars', words)).toBe('Ears')
    expect(
      exportedTypes('export interface A {}\ninterface B {}\nexport class C {}\nexport type D = A'),
    ).toEqual(['A', 'C', 'D'])
  })
})
