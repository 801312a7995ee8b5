"""The ledger: everything read from the log, the panel and the reports, folded into unit-days that can be counted.

Order of arrival does not matter, nor does reading a record twice: rows and closings keep their highest revision,
assignments their highest (epoch, sequence), and all that is added up is integers. A unit-day is settled again only when
something that touches it was read: a closed day costs its own cells.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime

from analysis.panel_data.assignment_columns import EPOCH, FOREVER, MICROSECOND, microseconds
from analysis.panel_data.day_sheets import settle_day
from analysis.panel_data.market_book import Book
from analysis.panel_data.sales_columns import Unseen
from analysis.panel_data.settlement import EMPTY, FULL
from analysis.panel_data.study import Study, number_of
from analysis.panel_data.substitutes import Graphs
from controller.decisions.enrolment import entry_of
from controller.decisions.roster import roster
from controller.definition.field_types import Message, market_of
from controller.designs.entries import Entry
from controller.messages.control import Entered, TriggerIgnored
from controller.messages.events import Assignment, MissingReason, PeriodClosed, Registered, UnitDay, UnsoldUnits
from controller.messages.inputs import Applied, CatalogEntry, CompetitorPrice
from controller.time.periods import local_day

HOUR_US = 3_600_000_000
#: reports of unknown units that are kept until their units are known: some megabytes, however many are written
MOST_WAITING = 20_000
NO_BOOK = Book()
#: in the place of an arm
RIVAL = -1
#: reason of a record -> that of a cell
UNSEEN: dict[MissingReason, Unseen] = {"feed_silent": Unseen.FEED_SILENT, "closed": Unseen.CLOSED}


class Ledger:
    """All unit-days, assignments, reports, closings and experiments read so far."""

    def __init__(self) -> None:
        self.studies: dict[tuple[str, int], Study] = {}
        self.books: defaultdict[str, Book] = defaultdict(Book)
        #: study -> when a trigger was decided on, its market and its cluster; each trigger once, by id
        self.triggers: defaultdict[tuple[str, int], dict[str, tuple[datetime, str, str]]] = defaultdict(dict)
        #: as they were read: what a snapshot writes
        self.registered: list[Registered] = []
        #: study -> the record of each entry, by trigger
        self.entered: defaultdict[tuple[str, int], dict[str, Entered]] = defaultdict(dict)
        #: unit -> category, as the catalog has it
        self.categories: dict[str, str] = {}
        self.graphs = Graphs()
        self._by_market: defaultdict[str, list[Study]] = defaultdict(list)
        #: reports of units that nothing else was read of, and how many those are; how many there was no room for
        self._unplaced: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._waiting = 0
        self.dropped = 0

    def fold(self, message: Message, at: datetime | None = None) -> None:
        """Take a record in; kinds that say nothing about unit-days change nothing.

        ``at``: when the record was written, for those that do not say so themselves (the catalog's).
        """
        match message:
            case UnitDay():
                self._sold(message)
            case UnsoldUnits():
                self._unsold(message)
            case Assignment():
                self._assigned(message)
            case Applied():
                self._applied(message)
            case PeriodClosed():
                self._closed(message)
            case CatalogEntry():
                self._stocked(message, at)
            case CompetitorPrice():
                self._seen(message)
            case Registered():
                self._registered(message)
            case Entered() | TriggerIgnored():
                self._triggered(message)
            case _:
                pass

    def _registered(self, message: Registered) -> None:
        experiment = message.experiment
        key = (experiment.name, experiment.version)
        if key in self.studies:
            return
        self.registered.append(message)
        study = self.studies[key] = Study(roster(experiment), message.registered_at)
        for market in study.roster.units:
            self._by_market[market].append(study)

    def _assigned(self, message: Assignment) -> None:
        book = self.books[market_of(message.unit)]
        effective_at = microseconds(message.effective_at)
        book.assignments.put(
            book.rows.slot(message.unit),
            effective_at,
            FOREVER if message.expires_at is None else microseconds(message.expires_at),
            message.epoch,
            message.sequence,
            number_of(f"{message.experiment}.{message.experiment_version}"),
            number_of(message.arm),
            number_of(message.reason.code),
        )
        book.changed_from = min(book.changed_from, effective_at)

    def _applied(self, message: Applied) -> None:
        self._reported(message.unit, microseconds(message.applied_at), number_of(message.arm))

    def _reported(self, unit: str, at: int, arm: int) -> None:
        """A report, or (`RIVAL`) the hour of a rival's price.

        What is said of a unit that nothing else was read of waits: partitions are read at different paces.
        """
        book = self.books.get(market_of(unit))
        slot = None if book is None else book.rows.slots.get(unit)
        if book is None or slot is None:
            if self._waiting < MOST_WAITING:
                self._unplaced[unit].append((at, arm))
                self._waiting += 1
            else:
                self.dropped += 1
            return
        if arm == RIVAL:
            book.rivals.put(slot, at, at, 0, 0, 0, 0, 0)
        else:
            book.reports.put(slot, at, FOREVER, 0, 0, 0, arm, 0)
        book.changed_from = min(book.changed_from, at)

    def waiting_for_units(self) -> dict[str, list[tuple[int, int]]]:
        """What waits for its units, as a snapshot keeps it."""
        return dict(self._unplaced)

    def wait_for_units(self, reports: Mapping[str, Iterable[tuple[int, int]]]) -> None:
        """The same from a snapshot."""
        for unit, found in reports.items():
            for at, arm in found:
                self._reported(unit, at, arm)

    def _place(self) -> None:
        """Count reports of units that are known by now."""
        known = [unit for unit in self._unplaced if unit in self.books.get(market_of(unit), NO_BOOK).rows.slots]
        for unit in known:
            reports = self._unplaced.pop(unit)
            self._waiting -= len(reports)
            for at, arm in reports:
                self._reported(unit, at, arm)

    def _stocked(self, message: CatalogEntry, at: datetime | None) -> None:
        if message.category is not None:
            self.categories[message.unit] = message.category
        if at is None:
            return
        book, since = self.books[market_of(message.unit)], microseconds(at)
        book.stock.put(book.rows.slot(message.unit), since, FOREVER, 0, 0, 0, FULL if message.in_stock else EMPTY, 0)
        book.changed_from = min(book.changed_from, since)

    def _seen(self, message: CompetitorPrice) -> None:
        """One price an hour and unit is enough to tell how old the newest one is."""
        self._reported(message.unit, microseconds(message.observed_at) // HOUR_US * HOUR_US, RIVAL)

    def _triggered(self, message: Entered | TriggerIgnored) -> None:
        if isinstance(message, Entered):
            self.entered[message.experiment, message.experiment_version][message.trigger] = message
        found = message.decided_at, message.market, message.cluster
        self.triggers[message.experiment, message.experiment_version][message.trigger] = found

    def entries_of(self, study: Study) -> tuple[Entry, ...]:
        """Who has entered an experiment, each trigger once."""
        experiment, found = study.roster.experiment, self.entered.get(study.key, {})
        return tuple(entry_of(experiment, record) for _, record in sorted(found.items()))

    def categories_of(self, study: Study) -> dict[str, str]:
        """Unit -> category, of the units that have one."""
        if not self.categories:
            return {}
        return {unit: self.categories[unit] for unit in study.units if unit in self.categories}

    def triggers_of(self, study: Study, through: date) -> tuple[tuple[date, str], ...]:
        """Day and cluster of each trigger of an experiment up to a day."""
        zones = study.roster.time_zones
        found = self.triggers.get(study.key, {}).values()
        days = [(local_day(at, zones[market]), cluster) for at, market, cluster in found if market in zones]
        return tuple(sorted(one for one in days if one[0] <= through))

    def _sold(self, message: UnitDay) -> None:
        book = self.books[market_of(message.unit)]
        news = book.rows.put(
            message.unit,
            message.day,
            message.quantity,
            message.revenue_minor,
            message.cost_minor,
            message.events,
            message.revision,
            message.late,
        )
        if news:
            if message.day in book.unmet:
                _check(book, message.day)
            book.days_changed.add(message.day)

    def _unsold(self, message: UnsoldUnits) -> None:
        book, prefix = self.books[message.market], f"{message.market}/"
        news = book.rows.put_unsold([prefix + product for product in message.zeros], message.day, message.revision)
        for why, products in message.missing.items():
            units = [prefix + product for product in products]
            news |= book.rows.put_unsold(units, message.day, message.revision, UNSEEN[why])
        if news:
            if message.day in book.unmet:
                _check(book, message.day)
            book.days_changed.add(message.day)

    def _closed(self, message: PeriodClosed) -> None:
        book = self.books[message.market]
        held = book.closings.get(message.day)
        if held is not None and _order(held) >= _order(message):
            return
        book.closings[message.day] = message
        book.closed_through = max(book.closed_through, message.day)
        _check(book, message.day)
        book.days_changed.add(message.day)

    def tell(self, markets: Iterable[str]) -> None:
        """Tell the studies of these markets what was read since the last time: once a refresh, not once a record."""
        self._place()
        for market in markets:
            book = self.books[market]
            if market not in self._by_market or (not book.days_changed and book.changed_from == FOREVER):
                continue
            since = None if book.changed_from == FOREVER else EPOCH + book.changed_from * MICROSECOND
            first: dict[str, date] = {}
            for study in self._by_market[market]:
                for day in book.days_changed:
                    study.unsettle(market, day)
                if since is not None:
                    zone = study.roster.time_zones[market]
                    if zone not in first:
                        first[zone] = local_day(since, zone)
                    study.unsettle_from(market, first[zone])
            book.days_changed, book.changed_from = set(), FOREVER

    def waiting(self) -> dict[str, tuple[date, ...]]:
        """Market -> closed days that are held back because rows promised by their closing were not read yet."""
        return {market: tuple(sorted(book.unmet)) for market, book in sorted(self.books.items()) if book.unmet}

    def horizon(self, study: Study) -> date | None:
        """The last local day of an experiment that is closed, with all its rows, in all of its markets."""
        last = study.last_day
        for market in study.roster.units:
            book = self.books[market]
            closed = book.closed_through
            if book.unmet and closed >= min(book.unmet):
                closed = max((day for day in book.closings if day < min(book.unmet)), default=date.min)
            last = min(last, closed)
        return last if last >= study.first_day else None

    def settle(self, study: Study, through: date) -> None:
        """Write every unit-day up to ``through`` that is not settled into the experiment's arrays."""
        self.settle_all([(study, through)])

    def settle_all(self, studies: Iterable[tuple[Study, date]]) -> None:
        """The same of many experiments, day by day and market by market: what stood then is found out once for all."""
        asked = list(studies)
        self.tell({market: None for study, _ in asked for market in study.roster.units})
        wanted: defaultdict[date, defaultdict[Study, list[str]]] = defaultdict(lambda: defaultdict(list))
        for study, through in asked:
            for market, day in study.unsettled(through, lambda market: self.books[market].rows.days):
                wanted[day][study].append(market)
        for day, markets in sorted(wanted.items()):
            settle_day(self.books, day, markets)
        for study, through in asked:
            study.settled_through(through)

    def standing(self, study: Study, through: date) -> tuple[PeriodClosed, ...]:
        """The closing that stands on ``through`` in each market: that day's, or the last one before it."""
        found = []
        for market in sorted(study.roster.units):
            closings, day = self.books[market].closings, through
            if day not in closings:
                day = max((other for other in closings if other < through), default=date.min)
            if day in closings:
                found.append(closings[day])
        return tuple(found)


def _check(book: Book, day: date) -> None:
    """A closed day whose rows are not all here yet is waited for."""
    closing = book.closings[day]
    missing = sum(closing.missing.values())
    met = book.rows.met(day, closing.unit_days, closing.events, closing.zeros or 0, missing)
    (book.unmet.discard if met else book.unmet.add)(day)


def _order(closing: PeriodClosed) -> tuple[int, datetime]:
    """Which of two closings of a day stands: one published again after a crash has the same revision."""
    return closing.revision, closing.watermark
