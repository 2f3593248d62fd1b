#region common
param($Request, $Text)
#endregion
#region inspect
#endregion
#region apply
#endregion
#region restart
#endregion
#region main
#endregion
