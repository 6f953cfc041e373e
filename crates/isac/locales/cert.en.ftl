nav-incidents = Incidents
nav-members = Members

case-state-accepted = Being handled
case-state-dismissed = Dismissed
case-state-recovered = Under control
case-state-improved = Improvement reported
case-action-accept = Complete the review
case-action-dismiss = Dismiss
case-action-recover = Report recovery
case-action-reopen = Reopen
case-action-improve = Hand in the improvement report
case-action-return-improvement = Return the improvement report

incidents-open = Open
incidents-late = Past a deadline
incidents-all = All
incidents-drill = Drills
incidents-figures = Figures
incidents-answer = { $open ->
    [0] No incident is open.
    [one] One incident is open; { $late } past a statutory deadline.
   *[other] { $open } incidents are open; { $late } past a statutory deadline.
}
incidents-empty-title = No incidents here
incidents-empty-text = Incidents that were reported are listed here.
incident-report = Report an incident
incident-drill = Report a drill
incident-subject = Incident
incident-level-name = Level
incident-level = Level { $level }
incident-org = Organisation
incident-next = Next deadline
incident-reported = Reported
incident-known = Learned of
incident-case = Case
incident-case-open = Files, comments and review
incident-is-drill = Drill
incident-drill-text = This is a drill: nothing leaves the house, and it is counted nowhere.
incident-correct = Correct the report
incident-clocks = Statutory deadlines
incident-law = { $title }, version { $version } of the deadlines
incident-answer = Level { $level }. Next: { $what }, in { $time }.
incident-answer-late = Level { $level }. The { $what } is { $time } past its deadline.
incident-answer-idle = Level { $level }. No deadline runs.
incident-answer-closed = Level { $level }. Closed.
incident-forward = Forward the reviewed report
incident-forward-to = Forwarded to
incident-forward-help = The authority and the number that it gave: National centre, 2026-11-0123
incident-forwarded = Recorded as forwarded.
incident-levels = Level
incident-levels-text = Reported as level { $reported }; level { $level } is in force.
incident-log = Evidence log
incident-log-text = Entries are kept as they were written and cannot be changed.

clock-what = What must be done
clock-due = Until
clock-stands = Status
clock-kept = In time
clock-done-late = Done late
clock-late = Late
clock-runs = Running
clock-void = Not needed

level-change = Level { $from } to { $to }, proposed by { $who }, { $at }
level-agreed = Agreed by { $who }
level-refused = Refused by { $who }
level-waits = Waits for the decision of an officer
level-agree = Agree
level-refuse = Refuse
level-remark = Why it is refused
level-to = New level
level-reason = Why
level-propose = Propose
level-propose-title = Propose another level
level-proposed = Proposed. An officer decides.
level-decided = Decided.
level-wrong = must be 1 to 4
level-verdict-wrong = must be agree or refuse

log-at = When
log-who = Who
log-what = What
log-text = What happened
log-happened = When it happened
log-happened-wrong = must be a date and time
log-add = Add to the log
log-files = Add a file
log-added = Added to the log.
log-reminder = Reminder sent: { $what }
log-escalation = Past the deadline, escalated: { $what }
log-level-proposed = Level proposed
log-level-agreed = Level agreed
log-level-refused = Level refused
log-forward = Forwarded

figures-answer = { $total ->
    [0] No incident was reported within the last 365 days.
    [one] One incident was reported within the last 365 days.
   *[other] { $total } incidents were reported within the last 365 days.
}
figures-total = Incidents
figures-open = Open
figures-clocks = Deadlines kept
figures-sectors = By sector
figures-categories = By kind
figures-category = Kind

member-org = Organisation
member-sector = Sector
member-assets = Assets
member-assets-help = Products and systems, one a line. Alerts about one of them find this member.
member-none = Not a member
member-saved = The member is saved.
member-sector-wrong = must be one of the list
members-intro = The sector and the assets of an organisation decide which alerts reach it.
members-empty-title = No organisations yet
members-empty-text = Organisations are made under Organisations.
act-save-member = Save

nav-alerts = Alerts
nav-lights = Threat lights
nav-articles = Public site
nav-citizens = Citizens' reports

case-state-published = Published
case-state-retracted = Retracted
case-action-publish = Publish
case-action-retract = Retract

alerts-intro = Alerts that were published, and how members replied.
alerts-waiting = { $count ->
    [0] No alert waits for your reply.
    [one] One alert waits for your reply.
   *[other] { $count } alerts wait for your reply.
}
alerts-empty-title = No alerts
alerts-empty-text = Alerts that concern you are listed here.
alert-draft = Draft an alert
alert-subject = Alert
alert-severity = Severity
alert-kind = Kind
alert-tlp = Sharing
alert-published = Published
alert-due = Reply until
alert-replies = Replies
alert-replied = { $replied } of { $all } replied
alert-no-reply = None asked for
alert-retracted = Retracted
alert-advice = What to do
alert-body = Details
alert-products = Products affected
alert-cves = CVE numbers
alert-references = References
alert-csaf = CSAF document
alert-case = Draft and review
alert-reply = Reply
alert-remark = Remark
alert-read = Opened
alert-chased = Asked again
alert-please-reply = Please reply.
alert-reply-of = Reply of { $org }
alert-send-reply = Send the reply
alert-reply-kept = The reply is sent.
alert-reply-missing = Choose a reply

lights-intro = The light follows from incidents, alerts and what is told by hand.
lights-empty-title = No lights yet
lights-empty-text = Lights appear when there are members.
light-wall = Wall of lights
light-whole = The whole
light-whose = Whose
light-colour = Light
light-score = Score
light-why = Why
light-since = Since
light-part = What contributes
light-nothing = Nothing out of the ordinary
light-green = Green
light-yellow = Yellow
light-orange = Orange
light-red = Red
light-answer = Score { $score } of 100, since { $since }.
light-suppose-title = What if
light-suppose-text = Suppose that something more happened; nothing is kept.
light-suppose = Suppose
light-supposed = The score would be { $score }.
light-observe-title = Tell what was seen
light-observe = Tell
light-observed = Told. The light follows within seconds.
light-seen = What was seen
light-face = Face
light-face-wrong = must be physical or personnel
light-history = Changes
light-history-empty = The light has not changed yet
light-change = Change
face-physical = Physical
face-personnel = Personnel
face-cyber = Cyber
face-incidents = Incidents

open-site = Cyber security for everybody
open-intro = What happens now, and how to stay safe.
open-home = Cyber security
open-advisories = Advisories
open-news = News
open-awareness = Stay safe
open-events = Events
open-report = Report something
open-follow = Follow a report
open-more = More
open-no-advisories = No advisory at the moment.
open-no-articles = Nothing here yet
open-no-articles-text = Articles appear here when they are published.

articles-intro = What stands on the public site.
articles-empty-title = No articles yet
articles-empty-text = Write the first one.
article-news = News
article-awareness = Stay safe
article-event = Event
article-title = Article
article-kind = Kind
article-published = Published
article-draft = Draft
article-new = New article
article-slug = Name in the address
article-slug-help = Lower-case letters, digits and hyphens: phishing-2026
article-title-zh = Title in Chinese
article-title-en = Title in English
article-summary-zh = Summary in Chinese
article-summary-en = Summary in English
article-body-zh = Text in Chinese
article-body-en = Text in English
article-body-help = Markdown: headings, lists, quotes, emphasis, code and links
article-save = Save
article-saved = The article is saved.
article-text = Text
article-preview = Preview
article-publish = Publish
article-withdraw = Take back
article-is-published = The article is published.
article-is-withdrawn = The article is taken back.

citizens-intro = What citizens report is sealed; reading it is recorded.
citizens-empty-title = No reports
citizens-empty-text = Reports from the public site are listed here.
citizen-intro = Tell us about phishing, fraud or anything suspicious. No account is needed.
citizen-text = What did you see?
citizen-text-help = When, where, which message or site. Do not write passwords.
citizen-contact = How can we reach you?
citizen-contact-help = An e-mail address or telephone number
citizen-file = File
citizen-file-help = A picture or document of at most 5 MiB
citizen-send = Send
citizen-kept = Your report is kept
citizen-thanks = Thank you. Keep this code: it is the only way to follow the report, and is shown only now.
citizen-code = Code
citizen-code-help = Anybody who has the code can read the report and its answer.
citizen-code-example = 20 letters and digits: ABCDE-FGHJK-LMNPQ-RSTUV
citizen-code-wrong = No report has this code
citizen-look = Show
citizen-came = Your report came at { $at }.
citizen-waits = It has not been answered yet.
citizen-answer = Answer
citizen-send-answer = Answer
citizen-answered = The answer is kept.
